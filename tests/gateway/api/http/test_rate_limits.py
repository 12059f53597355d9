"""Requests a second: who comes too often is told when to come again, and others are not held up."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.http.addresses import Entrance
from gateway.api.http.rate_limits import Pace, Paces, RateLimits
from gateway.people.permissions import Role
from gateway.storage.database import Database
from tests.servers.api_server import open_api_server

PACE = Pace(burst=3, per_second=2)


def test_a_burst_is_free_and_then_the_pace_holds() -> None:
    limits = RateLimits()
    assert [limits.wait("a", PACE, 0.0) for _ in range(3)] == [0, 0, 0]
    assert limits.wait("a", PACE, 0.0) == 0.5
    assert limits.wait("a", PACE, 0.4) > 0
    assert limits.wait("a", PACE, 0.5) == 0
    assert limits.wait("b", PACE, 0.0) == 0, "somebody else"


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    limits = RateLimits()
    for _ in range(3):
        limits.wait("a", PACE, 100.0)
    assert limits.wait("a", PACE, 10.0) == 0.5


@given(steps=st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_burst_and_the_pace(steps: list[float]) -> None:
    limits, now, taken = RateLimits(), 0.0, 0
    for step in steps:
        now += step
        taken += limits.wait("a", PACE, now) == 0
    assert taken <= PACE.burst + PACE.per_second * now + 1e-6


async def test_who_comes_too_often_gets_429_with_the_time_to_wait(database: Database, tmp_path: Path) -> None:
    paces = Paces(login=Pace(4, 0.01), address=Pace(2, 0.01))
    async with open_api_server(database, tmp_path, Entrance(paces=paces)) as api:
        assert [(await api.get("/healthz"))[0] for _ in range(3)] == [200, 200, 429]
        async with api.client.get("/api/v1/me") as answer:
            assert (answer.status, (await answer.json())["code"]) == (429, "too_many_requests")
            assert int(answer.headers["Retry-After"]) >= 1


async def test_a_login_is_counted_by_itself_also_behind_an_address_that_is_over_its_pace(
    database: Database, tmp_path: Path
) -> None:
    """A whole estate stands behind one address."""
    async with open_api_server(database, tmp_path, Entrance(paces=Paces(Pace(4, 0.01), Pace(2, 0.01)))) as api:
        api.log_in(Role.OPERATOR)
        assert (await api.get("/api/v1/me"))[0] == 200  # the first is counted by the address: nobody knows it yet
        api.log_out()
        assert [(await api.get("/healthz"))[0] for _ in range(2)] == [200, 429]
        api.log_in(Role.OPERATOR)
        assert [(await api.get("/api/v1/me"))[0] for _ in range(5)] == [200, 200, 200, 200, 429]
