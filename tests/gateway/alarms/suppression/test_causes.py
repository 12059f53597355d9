"""What a standing alarm explains: tables of cases, and laws over any tree of links."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.wire.fields import Kind
from gateway.alarms.key import Key, Scope
from gateway.alarms.rules.rule import Priority, Rule
from gateway.alarms.rules.rulebook import Rulebook
from gateway.alarms.suppression.causes import EARLIER_MS, ActiveCause, CauseBook, CauseRules, Causes
from gateway.alarms.suppression.reasons import Plans, Reason, Shelf, Shelves, Subject, Turn, active_reasons
from gateway.equipment.topology import Link, Relation, Topology
from tests.builders.alarms import T0, make_rule

POWER, NETWORK = Relation.POWER, Relation.NETWORK
CUT = make_rule("mains.lost", suppresses=frozenset({POWER}), release_after=60_000)
GONE = make_rule("gateway.gone", suppresses=frozenset({NETWORK}), release_after=60_000)
DRIVE = make_rule("pump.drive", release_after=5_000)
HOT = make_rule("pump.hot")
STARTS_NOT = make_rule("pump.starts_not", suppressed_by=("pump.drive",))
LEAK = make_rule("pump.leak", despite_parent=True)
TRAPPED = make_rule("lift.trapped", priority=Priority.CRITICAL)
RULES = CauseRules(Rulebook([CUT, GONE, DRIVE, HOT, STARTS_NOT, LEAK, TRAPPED]))
TREE = Topology(
    [
        Link("HQ", "B-1", "M-1", POWER), Link("HQ", "P-1", "B-1", POWER), Link("HQ", "GW-1", "M-1", POWER),
        Link("HQ", "S-1", "GW-1", NETWORK),
    ]
)  # fmt: skip
"""The mains feed a board, the board a pump; they feed a gateway too, and that carries a sensor."""


def about(equipment: str, rule: Rule, raised_at: int = T0, site: str = "HQ") -> Subject:
    return Subject(Key(site, equipment, "", rule.id), Kind.PUMP.value, "", rule.life_safety, raised_at)


def cause(identity: str, equipment: str, rule: Rule, raised_at: int = T0, until: int | None = None) -> ActiveCause:
    return ActiveCause(identity, about(equipment, rule, raised_at), until)


def why(subject: Subject, *causes: ActiveCause, now: int = T0 + 1_000, shelves: Shelves | None = None) -> list[Any]:
    """(reason, by) of what keeps an alarm quiet."""
    shelves = shelves or Shelves({})
    plans = Plans(shelves, further=(Causes(causes, RULES, TREE, (shelves,)),))
    return [(item.reason, item.by) for item in active_reasons(subject, plans, now)]


class Case(NamedTuple):
    subject: Subject
    causes: tuple[ActiveCause, ...]
    wanted: list[tuple[Reason, str]]


MAINS, BOARD, GATEWAY = cause("m", "M-1", CUT), cause("b", "B-1", CUT, T0 + 5), cause("g", "GW-1", GONE, T0 + 9)
CASES = {
    "a child of a child": Case(about("P-1", HOT), (MAINS,), [(Reason.PARENT, "m")]),
    "listed under the topmost, whichever came first": Case(about("P-1", HOT), (BOARD, MAINS), [(Reason.PARENT, "m")]),
    "the cause itself is the child of another": Case(BOARD.subject, (BOARD, MAINS), [(Reason.PARENT, "m")]),
    "a gateway without power explains what it carries, and the mains explain both": Case(
        about("S-1", HOT), (MAINS, GATEWAY), [(Reason.PARENT, "m")]
    ),
    "power does not explain what only hangs from the gateway": Case(about("S-1", HOT), (MAINS,), []),
    "a gateway explains nothing of what it does not carry": Case(about("P-1", HOT), (GATEWAY,), []),
    "no alarm explains itself": Case(MAINS.subject, (MAINS,), []),
    "life safety": Case(about("P-1", TRAPPED), (MAINS, BOARD), []),
    "what a rule tells all the same": Case(about("P-1", LEAK), (MAINS,), []),
    "a rule that is not there any more": Case(about("P-1", make_rule("gone")), (MAINS,), []),
    "another site": Case(about("P-1", HOT, site="B"), (MAINS,), []),
    "raised shortly before": Case(about("P-1", HOT, T0 - EARLIER_MS), (MAINS,), [(Reason.PARENT, "m")]),
    "raised long before": Case(about("P-1", HOT, T0 - EARLIER_MS - 1), (MAINS,), []),
    "its condition has ended, devices come back": Case(
        about("P-1", HOT), (MAINS._replace(until=T0 + 1_001),), [(Reason.PARENT, "m")]
    ),
    "they have had their time": Case(about("P-1", HOT), (MAINS._replace(until=T0 + 1_000),), []),
    "a rule names another one": Case(about("P-1", STARTS_NOT), (cause("d", "P-1", DRIVE),), [(Reason.RULE, "d")]),
    "also long before": Case(about("P-1", STARTS_NOT, T0 - 9**9), (cause("d", "P-1", DRIVE),), [(Reason.RULE, "d")]),
    "not on another equipment": Case(about("P-2", STARTS_NOT), (cause("d", "P-1", DRIVE),), []),
    "both": Case(
        about("P-1", STARTS_NOT), (cause("d", "P-1", DRIVE), MAINS), [(Reason.PARENT, "m"), (Reason.RULE, "d")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_cause_explains_what_hangs_from_it_and_nothing_else(name: str) -> None:
    case = CASES[name]
    assert why(case.subject, *case.causes) == case.wanted


def test_a_cause_that_people_have_put_aside_explains_nothing_for_nobody_would_be_told() -> None:
    shelf = Shelf(since=T0, until=T0 + 9_000, one_shot=False, person="p", second_person=None, reason="tests")
    shelves = Shelves({MAINS.subject.key: shelf})
    assert why(about("P-1", HOT), MAINS, shelves=shelves) == []
    assert why(about("P-1", HOT), MAINS, shelves=shelves, now=T0 + 9_000) == [(Reason.PARENT, "m")]


def test_what_has_ended_names_the_moment_of_release() -> None:
    causes = Causes([MAINS, BOARD._replace(until=T0 + 7)], RULES, TREE)
    assert list(causes.turns()) == [Turn(T0 + 7, Scope("HQ"))]


# -- which causes stand ------------------------------------------------------------------------------


def row(identity: str, *, returned_at: int | None = None) -> dict[str, Any]:
    return {"id": identity, "active": returned_at is None, "returned_at": returned_at}


BOOK = CauseBook(RULES, TREE)
NOBODY: frozenset[str] = frozenset()


def test_a_cause_stands_while_active_and_then_for_its_time() -> None:
    subject = about("M-1", CUT)
    stands = BOOK.after([(subject, row("m"))], NOBODY)
    assert stands.causes == {"m": ActiveCause("m", subject)}
    ended = stands.after([(subject, row("m", returned_at=T0 + 100))], NOBODY)
    assert ended.causes["m"].until == T0 + 60_100
    assert ended.after([(subject, row("m"))], NOBODY) == stands, "the mains fail again"


def test_a_cause_that_proves_wrong_releases_at_once() -> None:
    subject = about("M-1", CUT)
    stands = BOOK.after([(subject, row("m"))], NOBODY)
    assert stands.after([(subject, row("m", returned_at=T0 + 100))], frozenset({"m"})).causes == {}


def test_an_alarm_that_no_rule_makes_a_cause_is_none() -> None:
    assert BOOK.after([(about("P-1", HOT), row("h"))], NOBODY) == BOOK


# -- laws --------------------------------------------------------------------------------------------

CODES = "ABCDEF"
LINKS = st.lists(st.tuples(st.sampled_from(CODES), st.sampled_from(CODES), st.sampled_from(Relation)), max_size=12)
FOUND = st.lists(st.tuples(st.sampled_from(CODES), st.sampled_from([CUT, GONE, DRIVE]), st.integers(0, 9)), max_size=8)
EVERY_RULE = st.sampled_from([CUT, GONE, DRIVE, HOT, STARTS_NOT, LEAK, TRAPPED])


def tree_of(wanted: list[tuple[str, str, Relation]]) -> Topology:
    topology = Topology()
    for child, parent, relation in wanted:
        link = Link("HQ", child, parent, relation)
        if not topology.loop_with(link):
            topology = Topology([*topology.links, link])
    return topology


@given(LINKS, FOUND, st.sampled_from(CODES), EVERY_RULE)
def test_in_any_tree_life_safety_is_told_and_every_quiet_alarm_hangs_under_one_that_is_told(
    wanted: list[tuple[str, str, Relation]], found: list[tuple[str, Rule, int]], code: str, rule: Rule
) -> None:
    causes = [cause(str(number), at, by, T0 + since) for number, (at, by, since) in enumerate(found)]
    plans = Plans(further=(Causes(causes, RULES, tree_of(wanted)),))
    items = active_reasons(about(code, rule), plans, T0 + 100)
    assert not (rule.life_safety and items)
    by_id = {item.alarm: item for item in causes}
    for item in items:
        top = by_id[item.by]
        if item.reason is Reason.PARENT:
            assert active_reasons(top.subject, plans, T0 + 100) == (), "the topmost is told"
            assert top.subject.key.equipment != code


@given(LINKS, FOUND, st.sampled_from(CODES), EVERY_RULE)
def test_when_all_causes_have_ended_nothing_stays_quiet(
    wanted: list[tuple[str, str, Relation]], found: list[tuple[str, Rule, int]], code: str, rule: Rule
) -> None:
    causes = [cause(str(number), at, by, T0 + since) for number, (at, by, since) in enumerate(found)]
    ended = [(item.subject, row(item.alarm, returned_at=T0 + 100)) for item in causes]
    book = CauseBook(RULES, tree_of(wanted), {item.alarm: item for item in causes}).after(ended, NOBODY)
    last = max((item.until or 0 for item in book.causes.values()), default=T0)
    assert active_reasons(about(code, rule), Plans(further=(book.source(),)), last) == ()
