"""Operator actions on one alarm: acknowledge, silence, reset, comment."""

from collections.abc import Awaitable
from typing import Any

from gateway.alarms.lifecycle.operator_actions import acknowledge, comment, reset, silence
from gateway.alarms.lifecycle.rows import NoSuchAlarm, StaleVersion
from gateway.alarms.lifecycle.states import NotPermitted
from gateway.api.alarms.alarms import alarm_body, find_alarm
from gateway.api.alarms.bodies import AlarmAct, AlarmBody, Comment
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.people.permissions import Permission


async def acknowledge_alarm(call: Call) -> AlarmBody:
    return await _versioned(call, Permission.ACKNOWLEDGE_ALARM, acknowledge)


async def silence_alarm(call: Call) -> AlarmBody:
    return await _versioned(call, Permission.SILENCE_ALARM, silence)


async def reset_alarm(call: Call) -> AlarmBody:
    return await _versioned(call, Permission.RESET_ALARM, reset)


async def comment_on_alarm(call: Call) -> AlarmBody:
    row, services = await find_alarm(call, Permission.COMMENT_ON_ALARM), call.services
    doing = comment(services.database, row["id"], call.body.note, call.cause, services.clock())
    return await _done(call, Permission.COMMENT_ON_ALARM, doing)


async def _versioned(call: Call, act: Permission, what: Any) -> AlarmBody:
    row, wanted, services = await find_alarm(call, act), call.body, call.services
    doing = what(services.database, row["id"], wanted.version, wanted.note, call.cause, services.clock())
    return await _done(call, act, doing)


async def _done(call: Call, act: Permission, doing: Awaitable[None]) -> AlarmBody:
    """Run the action and answer with the changed alarm."""
    try:
        await doing
    except NoSuchAlarm:
        raise ProblemError("not_found") from None
    except StaleVersion as error:
        raise ProblemError("stale_version", str(error)) from error
    except NotPermitted as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    return alarm_body(await find_alarm(call, act), call.services.accounts)


ROUTES = (
    Route(
        "POST", "/alarms/{id}/acknowledge", Permission.ACKNOWLEDGE_ALARM, acknowledge_alarm,
        "Acknowledge an alarm", AlarmBody, request=AlarmAct,
    ),
    Route(
        "POST", "/alarms/{id}/silence", Permission.SILENCE_ALARM, silence_alarm,
        "Silence an alarm at every console; it stays unacknowledged", AlarmBody, request=AlarmAct,
    ),
    Route(
        "POST", "/alarms/{id}/reset", Permission.RESET_ALARM, reset_alarm,
        "Reset a latched alarm after its return to normal", AlarmBody, request=AlarmAct,
    ),
    Route(
        "POST", "/alarms/{id}/comment", Permission.COMMENT_ON_ALARM, comment_on_alarm,
        "Add a comment to an alarm's journal", AlarmBody, request=Comment,
    ),
)  # fmt: skip
