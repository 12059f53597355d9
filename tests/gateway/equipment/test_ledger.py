"""The ledger: what is known, what was heard and is not known, and how much of that is kept."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import OperationalError

from collectors.mqtt.message import Message
from gateway.equipment.ledger import (
    MESSAGE_BYTES,
    Equipment,
    Ledger,
    Site,
)
from gateway.equipment.life import Correction, EquipmentRefused
from gateway.equipment.lifecycle import Lifecycle
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.storage.tables import audit, equipment, fact, last_message, site
from gateway.storage.transaction import Transaction
from tests.builders.alarms import OPERATOR, PANEL, PUMP, T0, only_row, rows_of, sample

HQ = Site("HQ", {"en": "Head office", "zh-CN": "总部"}, "Asia/Shanghai")
P1 = Equipment("HQ", "P-1", "pump", {"en": "Pump 1", "zh-CN": "一号泵"}, {"en": "Basement", "zh-CN": "地下室"})

ROOF = {"en": "Roof", "zh-CN": "屋面"}


def heard(topic: str) -> list:  # type: ignore[type-arg]
    return [sample(topic, {"x": 1.0}, T0)]


async def make_ledger(database: Database, unknown_limit: int = 10) -> Ledger:
    ledger = Ledger(database, unknown_limit, "Europe/Berlin")
    await ledger.load()
    return ledger


async def test_what_is_entered_is_found_again_after_a_restart(database: Database) -> None:
    await (await make_ledger(database)).enter([HQ], [P1], CLOCK, T0)
    again = await make_ledger(database)
    assert again.sites == {"HQ": HQ}
    assert again.equipment == {("HQ", "P-1"): P1}
    assert (await only_row(database, audit))["act"] == "equipment.enter"
    assert (await only_row(database, fact))["kind"] == "equipment.entered"


async def test_entering_again_replaces_and_keeps_one_row(database: Database) -> None:
    ledger = await make_ledger(database)
    await ledger.enter([HQ], [P1], CLOCK, T0)
    moved = Equipment("HQ", "P-1", "pump", P1.name, ROOF, version=2)
    await ledger.enter([HQ], [moved], CLOCK, T0 + 5)
    row = await only_row(database, equipment)
    assert (row["place"], row["version"], row["created_at"]) == (ROOF, 2, T0)
    before = (await rows_of(database, audit))[-1]["before"]
    assert before["place"]["en"] == "Basement"


async def test_equipment_that_nobody_knows_is_listed_with_its_site(database: Database) -> None:
    ledger = await make_ledger(database)
    await ledger.meet(heard(PUMP), T0)
    await ledger.meet(heard(PUMP), T0 + 1)
    item = ledger.equipment["HQ", "P-1"]
    assert (item.adopted, item.kind, item.id) == (False, "pump", "HQ:P-1")
    row = await only_row(database, site)
    assert (row["code"], row["time_zone"]) == ("HQ", "Europe/Berlin")


async def test_known_equipment_is_not_entered_again_when_it_is_heard(database: Database) -> None:
    ledger = await make_ledger(database)
    await ledger.enter([HQ], [P1], CLOCK, T0)
    await ledger.meet(heard(PUMP), T0)
    assert ledger.equipment["HQ", "P-1"] is P1
    assert len(await rows_of(database, audit)) == 1


async def test_beyond_the_limit_strangers_are_counted_not_listed(database: Database) -> None:
    ledger = await make_ledger(database, unknown_limit=2)
    await ledger.enter([HQ], [P1], CLOCK, T0)  # adopted: does not count
    topics = [PUMP.replace("P-1", f"X-{number}") for number in range(4)]
    await ledger.meet([reading for topic in topics for reading in heard(topic)], T0)
    assert ledger.rejected == 2
    again = await make_ledger(database, unknown_limit=2)
    await again.meet(heard(PUMP.replace("P-1", "X-9")), T0)
    assert (again.rejected, len(again.equipment)) == (1, 3)


def fail_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = database.transaction, [OperationalError("COMMIT", {}, Exception("disk full"))]

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[Transaction]:
        async with real() as connection:
            yield connection
            if failures:
                raise failures.pop()

    monkeypatch.setattr(database, "transaction", transaction)


async def test_after_trouble_the_next_message_enters_the_stranger_and_its_site(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await make_ledger(database)
    fail_once(database, monkeypatch)
    await ledger.meet(heard(PANEL), T0)
    assert (ledger.sites, ledger.equipment) == ({}, {})
    await ledger.meet(heard(PANEL), T0 + 1)
    assert ("HQ", "FP-1") in ledger.equipment
    assert (await only_row(database, site))["code"] == "HQ"


# -- what unknown equipment sent last, and adopting it -----------------------------------------------------


def message(topic: str, payload: bytes, at: int = T0) -> Message:
    return Message(topic, payload, 1, 1, at * 1_000_000)


async def test_the_last_message_of_a_stranger_is_kept_cut_and_found_after_a_restart(database: Database) -> None:
    ledger = await make_ledger(database)
    ledger.hear(message("z/first", b"1"), heard(PUMP))  # heard before it is listed
    await ledger.meet(heard(PUMP), T0)
    ledger.hear(message("z/pump", b"x" * 5000, T0 + 7), heard(PUMP))
    await ledger.keep_last_messages()
    again = await make_ledger(database)
    last = again.last_messages["HQ", "P-1"]
    assert (last.topic, last.payload, last.size, last.received_at) == ("z/pump", b"x" * MESSAGE_BYTES, 5000, T0 + 7)
    assert again.last_messages == ledger.last_messages
    await ledger.keep_last_messages()  # nothing new: nothing to write
    assert len(await rows_of(database, last_message)) == 1


async def test_known_equipment_leaves_no_last_message(database: Database) -> None:
    ledger = await make_ledger(database)
    await ledger.enter([HQ], [P1], CLOCK, T0)
    ledger.hear(message(PUMP, b"1"), heard(PUMP))
    await ledger.keep_last_messages()
    assert (ledger.last_messages, await rows_of(database, last_message)) == ({}, [])


async def test_strangers_beyond_the_limit_fill_neither_memory_nor_table(database: Database) -> None:
    ledger = await make_ledger(database, unknown_limit=2)
    for number in range(50):
        topic = PUMP.replace("P-1", f"X-{number}")
        ledger.hear(message(topic, b"1"), heard(topic))
        await ledger.meet(heard(topic), T0)
    assert len(ledger._received) == 2
    await ledger.keep_last_messages()
    assert {row["equipment"] for row in await rows_of(database, last_message)} == {"X-0", "X-1"}


async def test_a_last_message_that_could_not_be_written_is_written_next_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await make_ledger(database)
    await ledger.meet(heard(PUMP), T0)
    ledger.hear(message(PUMP, b"1"), heard(PUMP))
    fail_once(database, monkeypatch)
    with pytest.raises(OperationalError):
        await ledger.keep_last_messages()
    await ledger.keep_last_messages()
    assert (await only_row(database, last_message))["payload"] == b"1"


async def test_adopting_names_audits_and_makes_room_for_the_next_stranger(database: Database) -> None:
    ledger = await make_ledger(database, unknown_limit=1)
    ledger.hear(message(PUMP, b"1"), heard(PUMP))
    await ledger.meet(heard(PUMP), T0)
    await ledger.keep_last_messages()
    name = {"en": "Pump 1", "zh-CN": "一号泵"}
    adopted = await Lifecycle(database, ledger).adopt(("HQ", "P-1"), Correction(1, name, ROOF), OPERATOR, T0 + 1)
    assert (adopted.adopted, adopted.version, adopted.name, adopted.place) == (True, 2, name, ROOF)
    assert (await make_ledger(database)).equipment == {("HQ", "P-1"): adopted}
    record = (await rows_of(database, audit))[-1]
    assert (record["act"], record["actor"], record["before"]["adopted"], record["after"]["adopted"]) == (
        "equipment.adopt", OPERATOR.actor, False, True,
    )  # fmt: skip
    assert (await rows_of(database, fact))[-1]["kind"] == "equipment.adopted"
    assert (ledger.last_messages, await rows_of(database, last_message)) == ({}, [])
    await ledger.meet(heard(PANEL), T0 + 2)
    assert ("HQ", "FP-1") in ledger.equipment


async def test_only_what_is_unknown_and_as_it_was_seen_is_adopted(database: Database) -> None:
    ledger = await make_ledger(database)
    await ledger.enter([HQ], [P1], CLOCK, T0)
    with pytest.raises(EquipmentRefused, match="adopted already"):
        await Lifecycle(database, ledger).adopt(("HQ", "P-1"), Correction(1), OPERATOR, T0)
    with pytest.raises(EquipmentRefused, match="no equipment HQ:P-2"):
        await Lifecycle(database, ledger).adopt(("HQ", "P-2"), Correction(1), OPERATOR, T0)
    await ledger.meet(heard(PANEL), T0)
    with pytest.raises(EquipmentRefused, match=r"at version|has changed"):
        await Lifecycle(database, ledger).adopt(("HQ", "FP-1"), Correction(2), OPERATOR, T0)
    other = await make_ledger(database)  # another process was quicker
    await Lifecycle(database, other).adopt(("HQ", "FP-1"), Correction(1), OPERATOR, T0)
    with pytest.raises(EquipmentRefused, match=r"at version|has changed"):
        await Lifecycle(database, ledger).adopt(("HQ", "FP-1"), Correction(1), OPERATOR, T0)
    assert not ledger.equipment["HQ", "FP-1"].adopted


async def test_what_another_process_entered_and_adopted_is_learnt(database: Database) -> None:
    ledger, other = await make_ledger(database), await make_ledger(database)
    other.hear(message(PUMP, b"1"), heard(PUMP))
    await other.meet([*heard(PUMP), *heard(PANEL)], T0)
    await other.keep_last_messages()
    await ledger.learn(["HQ:P-1", "HQ:P-1", "HQ:nothing"])
    assert list(ledger.equipment) == [("HQ", "P-1")]
    assert ledger.sites == other.sites
    await ledger.load_last_messages()
    assert ledger.last_messages == other.last_messages
    await Lifecycle(database, other).adopt(("HQ", "P-1"), Correction(1), OPERATOR, T0)
    await ledger.learn(["HQ:P-1"])
    assert ledger.equipment["HQ", "P-1"].adopted
    assert (ledger.last_messages, ledger._unknown) == ({}, 0)


async def test_who_was_adopted_at_another_process_is_not_entered_again_as_unknown(database: Database) -> None:
    ledger, other = await make_ledger(database), await make_ledger(database)
    await other.meet(heard(PUMP), T0)
    adopted = await Lifecycle(database, other).adopt(("HQ", "P-1"), Correction(1), OPERATOR, T0)
    await ledger.meet(heard(PUMP), T0 + 1)  # it has not heard of it
    assert ledger.equipment["HQ", "P-1"] == adopted
    assert (await make_ledger(database)).equipment["HQ", "P-1"] == adopted


async def test_entering_again_what_is_there_already_is_no_conflict(database: Database) -> None:
    """Two services that start at once, or a commit whose answer was lost."""
    ledger, other = await make_ledger(database), await make_ledger(database)
    await ledger.enter([HQ], [P1], CLOCK, T0)
    await other.enter([HQ], [P1], CLOCK, T0)
    assert (await only_row(database, equipment))["code"] == "P-1"


async def test_equipment_whose_name_is_too_long_for_the_records_is_counted_not_listed(database: Database) -> None:
    """One letter more than PostgreSQL has room for must not stop the alarms of everybody."""
    ledger = await make_ledger(database)
    longest, longer = (PUMP.replace("HQ", "S" * 64).replace("P-1", "P" * letters) for letters in (63, 64))
    await ledger.meet([*heard(longest), *heard(longer)], T0)
    assert list(ledger.equipment) == [("S" * 64, "P" * 63)]
    assert ledger.rejected == 1
