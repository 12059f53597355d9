"""The chain: whatever one does to its rows is found, and the row is named."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.people.audit.chain import BEGINNING, CONTENT, ChainCheck, Finding, Sealed, What, canonical, hash_of, seal

VALUES = [
    "",
    "operator",
    "电梯困人",
    "\ud800",
    0,
    -1,
    2**70,
    1.0,
    1e22,
    0.1,
    None,
    True,
    {},
    {"b": 1, "a": [1.5, "无"]},
]
ROW = st.integers(0, 3).map(lambda kind: dict(zip(CONTENT, VALUES[kind:], strict=False)))
ROWS = st.lists(ROW, min_size=4, max_size=30)
"""Many of them alike, as in life: a chain must tell equal rows apart by their place."""


def check(rows: Sequence[Sealed]) -> list[Finding]:
    found = ChainCheck()
    for row in rows:
        found.take(row)
    return found.findings()


def named(findings: Sequence[Finding]) -> list[tuple[What, int, int]]:
    return [(finding.what, finding.first, finding.last) for finding in findings]


def place(data: st.DataObject, rows: Sequence[Any], first: int = 0, last: int | None = None) -> int:
    return data.draw(st.integers(first, len(rows) - 1 if last is None else last), label="place")


@given(rows=ROWS)
def test_what_nobody_touched_is_whole(rows: list[dict[str, Any]]) -> None:
    sealed = seal(rows, 0, BEGINNING)
    assert check(sealed) == []
    assert [row.seq for row in sealed] == list(range(1, len(rows) + 1))


@given(rows=ROWS, cut=st.integers(1, 3))
def test_rows_sealed_in_two_passes_are_one_chain(rows: list[dict[str, Any]], cut: int) -> None:
    first = seal(rows[:cut], 0, BEGINNING)
    assert first + seal(rows[cut:], first[-1].seq, first[-1].hash) == seal(rows, 0, BEGINNING)


@given(rows=ROWS, data=st.data())
def test_a_changed_row_is_found_and_only_that_row(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    sealed = seal(rows, 0, BEGINNING)
    index, column = place(data, rows), data.draw(st.sampled_from(CONTENT))
    changed = {**sealed[index].content, column: data.draw(st.sampled_from(VALUES))}
    assume(canonical(changed) != canonical(sealed[index].content))
    sealed[index] = msgspec.structs.replace(sealed[index], content=changed)
    assert named(check(sealed)) == [(What.CHANGED, index + 1, index + 1)]


@given(rows=ROWS, data=st.data())
def test_a_changed_hash_is_found_at_the_row_or_the_one_behind(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """A row changed together with its hash: the row behind it does not fit any more, and the text names both."""
    sealed = seal(rows, 0, BEGINNING)
    index = place(data, rows, last=len(rows) - 2)
    before = BEGINNING if index == 0 else sealed[index - 1].hash
    content = {**sealed[index].content, "actor": "somebody else who never was here"}
    sealed[index] = Sealed(index + 1, content, hash_of(before, index + 1, content))
    (finding,) = check(sealed)
    assert (finding.what, finding.first) == (What.CHANGED, index + 2)
    assert f"row {index + 1} before it" in finding.text


@given(rows=ROWS, data=st.data())
def test_removed_rows_are_found_and_counted(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """Between the first and the last one; what stands outside them is told by the signed days."""
    first = place(data, rows, 1, len(rows) - 2)
    last = place(data, rows, first, len(rows) - 2)
    sealed = seal(rows, 0, BEGINNING)
    assert named(check(sealed[:first] + sealed[last + 1 :])) == [(What.REMOVED, first + 1, last + 1)]


@given(rows=ROWS, data=st.data())
def test_a_removed_row_is_found_also_when_the_rest_is_numbered_anew(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    sealed = seal(rows, 0, BEGINNING)
    index = place(data, rows, last=len(rows) - 2)
    closed_up = [msgspec.structs.replace(row, seq=row.seq - 1) for row in sealed[index + 1 :]]
    findings = check(sealed[:index] + closed_up)
    assert findings[0].first == index + 1


@pytest.mark.parametrize("with_hash", [True, False])
@given(rows=ROWS, data=st.data())
def test_exchanged_rows_are_found_at_both_places(
    with_hash: bool, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Only they: the rows behind them are not blamed for their neighbours."""
    one = place(data, rows, last=len(rows) - 2)
    two = place(data, rows, one + 1)
    assume(canonical(rows[one]) != canonical(rows[two]))
    sealed = seal(rows, 0, BEGINNING)
    hashes = (sealed[two].hash, sealed[one].hash) if with_hash else (sealed[one].hash, sealed[two].hash)
    exchanged = [
        Sealed(one + 1, sealed[two].content, hashes[0]),
        Sealed(two + 1, sealed[one].content, hashes[1]),
    ]
    sealed[one], sealed[two] = exchanged
    findings = check(sealed)
    assert named(findings) == [(What.MOVED, one + 1, one + 1), (What.MOVED, two + 1, two + 1)]
    assert f"belongs at {two + 1}" in findings[0].text


def test_a_row_in_the_wrong_line_of_a_file_is_found() -> None:
    sealed = seal([dict.fromkeys(CONTENT, number) for number in range(5)], 0, BEGINNING)
    assert named(check([sealed[index] for index in (0, 2, 1, 3, 4)])) == [
        (What.REMOVED, 2, 2), (What.MOVED, 2, 2),
    ]  # fmt: skip


def test_a_hash_that_is_none_is_a_changed_row_and_no_crash() -> None:
    sealed = seal([dict.fromkeys(CONTENT, number) for number in range(4)], 0, BEGINNING)
    sealed[1] = msgspec.structs.replace(sealed[1], hash="None – 无")
    assert [finding.first for finding in check(sealed)] == [2, 3]


def test_many_changed_rows_are_all_named() -> None:
    sealed = seal([dict.fromkeys(CONTENT, number) for number in range(60)], 0, BEGINNING)
    touched = [msgspec.structs.replace(row, content={**row.content, "at": -1}) for row in sealed]
    assert [finding.first for finding in check(touched)] == list(range(1, 61))


def test_canonical_bytes_are_these() -> None:
    """Whoever writes a verifier of their own goes by these lines; they never change."""
    content = {"b": 1.0, "a": "无\n", "c": {"y": None, "x": True}, "d": 1e22}
    assert canonical(content) == rb'{"a":"\u65e0\n","b":1.0,"c":{"x":true,"y":null},"d":1e+22}'
    row = dict.fromkeys(CONTENT, "x")
    assert hash_of(BEGINNING, 1, row) == "28df44dda650e103eb338bfaac9e99f0684ed24858b7098dbc24942ae0e608b8"
