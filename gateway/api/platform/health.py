"""The state of the platform: liveness, readiness and the synthetic probe."""

from gateway.alarms.built_in.synthetic_probe import Code
from gateway.api.http.route import Call, Reply, Route
from gateway.api.platform.bodies import HealthBody, ReadyBody, WatchdogBody
from gateway.clocks import name_of
from gateway.component_states import READY, STANDING_BY
from gateway.people.permissions import Permission


def ready_body(components: dict[str, str]) -> ReadyBody:
    return ReadyBody(all(state.partition("; ")[0] in {READY, STANDING_BY} for state in components.values()), components)


async def alive(call: Call) -> HealthBody:
    return HealthBody("alive", name_of(call.services.clock).value)


async def ready(call: Call) -> Reply:
    body = ready_body(call.services.components())
    return Reply(body, status=200 if body.ready else 503)


async def watchdog(call: Call) -> Reply:
    code = call.services.watchdog.finding().code
    return Reply(WatchdogBody(code is Code.OK, code), status=200 if code is Code.OK else 503)


ROOT_ROUTES = (
    Route("GET", "/healthz", Permission.PUBLIC, alive, "Liveness: the process responds", HealthBody),
    Route("GET", "/readyz", Permission.PUBLIC, ready, "Readiness of every component", ReadyBody, also=(503,)),
    Route(
        "GET", "/watchdog", Permission.PUBLIC, watchdog, "Whether the last synthetic probe passed the alarm path",
        WatchdogBody, also=(503,),
    ),
)  # fmt: skip
"""Routes without the prefix."""
