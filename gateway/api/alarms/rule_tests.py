"""POST /rules/test: evaluate a rule on the stored history of an equipment. Changes nothing."""

import math
from typing import Final

from collectors.timeseries.store import Series, StoreUnavailable
from collectors.wire.fields import Channel, FieldType, Kind, fields_of
from collectors.wire.reading import to_datetime, to_milliseconds
from gateway.alarms.rules.changes import changed
from gateway.alarms.rules.conditions import Limit, leaves_of
from gateway.alarms.rules.deadband import lower_edge, upper_edge
from gateway.alarms.rules.files import RuleError, read_rule
from gateway.alarms.rules.rule import Rule, RuleType, inputs_of
from gateway.alarms.whatif.back_test import Activation, number_shorter, spans_of
from gateway.alarms.whatif.proposals import Proposal
from gateway.alarms.whatif.rule_tests import Asked, Busy, Found, NotTestable
from gateway.api.alarms.rule_test_bodies import (
    ChartLine,
    ProposalBody,
    RuleChart,
    RuleTest,
    RuleTestBody,
    TestedActivation,
)
from gateway.api.alarms.rules import rulebook_of
from gateway.api.equipment.bodies import Bucket, Change
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route, Services
from gateway.equipment.ledger import Equipment
from gateway.people.permissions import Permission, may

_WEEK_MS: Final = 7 * 86_400_000
_MOST_LISTED: Final = 1_000
_MOST_CHARTS: Final = 4
_MOST_POINTS: Final = 2_000


async def try_rule(call: Call) -> RuleTestBody:
    """Run a rule over a history."""
    wanted: RuleTest = call.body
    item = _equipment(call, wanted.equipment)
    asked = _asked(await _rule(call, wanted, item), call, wanted, item)
    services = call.services
    try:
        found = await services.rule_tests.test(asked, services.clock(), propose=wanted.propose)
        charts = [await _chart(services, asked, field, found.until, wanted.points) for field in _charted(asked.rule)]
    except NotTestable as error:
        raise ProblemError("not_testable", str(error)) from error
    except Busy as error:
        raise ProblemError("too_many_requests", "another test is running; try again in a moment", 5) from error
    except StoreUnavailable as error:
        raise ProblemError("store_unavailable", "try again in a minute") from error
    return _body(item, asked, found, charts, wanted.shorter_than_s)


def _equipment(call: Call, identity: str) -> Equipment:
    """The equipment, if it exists and the person may see both its rules and its history."""
    site, _, code = identity.partition(":")
    item = call.services.ledger.equipment.get((site, code))
    grants = call.person.grants if call.person else None
    if item is None or not all(
        may(grants, act, site).permitted for act in (Permission.TEST_RULES, Permission.READ_HISTORY)
    ):
        raise ProblemError("not_found", "name the equipment as {site}:{code}")
    return item


def _asked(rule: Rule, call: Call, wanted: RuleTest, item: Equipment) -> Asked:
    if rule.kind.value != item.kind:
        raise ProblemError("rule_refused", f"the rule is for the kind {rule.kind}, but {item.id} is of {item.kind}")
    for moment in (wanted.start, wanted.end):
        if moment is not None and (moment.tzinfo is None or not 1971 <= moment.year < 2100):
            raise ProblemError("bad_request", "start and end must be between 1971 and 2100, with a time zone")
    end = to_milliseconds(wanted.end) if wanted.end else call.services.clock()
    start = to_milliseconds(wanted.start) if wanted.start else end - _WEEK_MS
    if start >= end:
        raise ProblemError("bad_request", "start must be before end")
    if not 1 <= wanted.points <= _MOST_POINTS or not 0 <= wanted.shorter_than_s < math.inf:
        raise ProblemError("bad_request", f"points must be between 1 and {_MOST_POINTS}, shorter_than_s at least 0")
    return Asked(rule, item.site, item.code, start, end)


async def _rule(call: Call, wanted: RuleTest, item: Equipment) -> Rule:
    """The rule as sent, or the one in force for the equipment with the changes; parsed like a rule file."""
    try:
        if wanted.rule is not None and wanted.rule_id is None and not wanted.changes:
            return read_rule(wanted.rule, "the rule")
        if wanted.rule is None and wanted.rule_id is not None:
            known = (await rulebook_of(call)).described(wanted.rule_id, item.site, item.code)
            if known is None:
                raise ProblemError("not_found", "there is no rule with this id here")
            return changed(known, wanted.changes, "the rule with its changes")
    except RuleError as error:
        raise ProblemError("rule_refused", str(error)) from error
    raise ProblemError("bad_request", "send either 'rule', whole, or 'rule_id' with or without 'changes'")


# -- the answer ------------------------------------------------------------------------------------


def _body(item: Equipment, asked: Asked, found: Found, charts: list[RuleChart], shorter_than_s: float) -> RuleTestBody:
    begin = found.until if found.first_at is None else found.first_at
    in_alarm = sum(end - start for start, end in spans_of(found.activations, found.until))
    listed = found.activations[:_MOST_LISTED]
    return RuleTestBody(
        equipment=item.id,
        rule=dict(asked.rule.written),
        start=to_datetime(asked.start),
        end=to_datetime(found.until),
        known_from=None if found.first_at is None else to_datetime(found.first_at),
        readings=found.readings,
        alarms=len(found.activations),
        shorter=number_shorter(found.activations, round(shorter_than_s * 1000), found.until),
        shorter_than_s=shorter_than_s,
        in_alarm_s=in_alarm / 1000,
        share_in_alarm=min(1.0, in_alarm / (found.until - begin)) if found.until > begin else 0.0,
        activations=[_activation(one, found.until) for one in listed],
        left_out=len(found.activations) - len(listed),
        charts=charts,
        proposal=None if found.proposal is None else _proposal(asked.rule, found.proposal),
        failures=found.failures,
        notes=_notes(asked.rule, found),
    )


def _activation(one: Activation, until: int) -> TestedActivation:
    end = None if one.end is None else to_datetime(one.end)
    return TestedActivation(to_datetime(one.start), end, one.lasts(until) / 1000, one.part, one.value, one.disproved)


def _proposal(rule: Rule, proposal: Proposal) -> ProposalBody:
    changes: dict[str, float | str] = {}
    if proposal.rule.deadband != rule.deadband:
        changes["deadband"] = proposal.rule.deadband
    if proposal.rule.on_delay != rule.on_delay:
        changes["on_delay"] = f"{proposal.rule.on_delay / 1000:g}s"
    return ProposalBody(changes, proposal.activations)


def _notes(rule: Rule, found: Found) -> list[str]:
    notes = ["values before the first reading are unknown, and so is the delay with which each reading was received"]
    if rule.type in (RuleType.NO_DATA, RuleType.ABSENCE):
        notes.append("in service this rule uses the time of receipt; here the time of measurement")
    if found.first_at is None:
        notes.append("this equipment has no reading in this period")
    return notes


# -- charts ----------------------------------------------------------------------------------------


def _charted(rule: Rule) -> tuple[str, ...]:
    return () if rule.type in (RuleType.EVENT, RuleType.NO_DATA) else inputs_of(rule)[:_MOST_CHARTS]


async def _chart(services: Services, asked: Asked, field: str, until: int, points: int) -> RuleChart:
    """The history of a field, and the rule's limits for it."""
    kind = Kind(asked.rule.kind)
    channel = Channel.STATUS if field in fields_of(kind, Channel.STATUS) else Channel.TELEMETRY
    series = Series(asked.site, kind.value, asked.equipment, channel.value)
    found = await services.store.history(series, field, asked.start, max(until, asked.start + 1), points)
    known = fields_of(kind, channel).get(field)
    buckets = [Bucket(to_datetime(at), least, mean, most, count) for at, least, mean, most, count in found.buckets]
    changes = [Change(to_datetime(at), value) for at, value in found.changes]
    unit = known.unit if known is not None and known.type is FieldType.NUMBER else ""
    return RuleChart(field, unit, buckets, changes, _lines(asked.rule, field))


def _lines(rule: Rule, field: str) -> list[ChartLine]:
    """Limits on the value of the field itself; those of a rate or a comparison are left out."""
    if rule.type is RuleType.LIMIT and field == rule.field:
        return _lines_of(rule.above, rule.below, rule.deadband)
    leaves = leaves_of(rule.when) if rule.when is not None else ()
    return [
        line
        for leaf in leaves
        if isinstance(leaf, Limit) and leaf.field == field and not leaf.than
        for line in _lines_of(leaf.above, leaf.below, leaf.deadband)
    ]


def _lines_of(above: float, below: float, deadband: float) -> list[ChartLine]:
    is_upper = above < math.inf
    limit = ChartLine("above", above) if is_upper else ChartLine("below", below)
    returns = upper_edge(above, deadband, 1) if is_upper else lower_edge(below, deadband, 1)
    return [limit, ChartLine("returns", returns)] if deadband else [limit]


ROUTES = (
    Route(
        "POST",
        "/rules/test",
        Permission.TEST_RULES,
        try_rule,
        "Test a rule on an equipment's history; changes nothing",
        RuleTestBody,
        request=RuleTest,
    ),
)
