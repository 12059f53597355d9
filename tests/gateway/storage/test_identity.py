"""Ids: unique, of version 7, and in the order of making."""

import uuid

from gateway.storage.identity import new_id

NOW = 1_790_000_000_000


def test_an_id_is_a_uuid_of_version_7_that_begins_with_its_time() -> None:
    made = uuid.UUID(new_id(NOW))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == NOW


def test_what_is_made_later_sorts_later_even_within_a_millisecond() -> None:
    while int(new_id(NOW)[15:18], 16) > 0xF00:
        pass  # the count begins again at 4,096: not in the middle of this test
    made = [new_id(NOW) for _ in range(100)] + [new_id(NOW + 1) for _ in range(100)]
    assert made == sorted(made)


def test_ids_are_unique_also_where_the_count_begins_again() -> None:
    assert len({new_id(NOW) for _ in range(20_000)}) == 20_000
