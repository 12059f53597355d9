"""What waits is bounded by messages and bytes, and what is in hand is known when the broker sends it again."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.mqtt.inbox import Inbox
from collectors.mqtt.message import Message


def message(mid: int, payload: bytes = b"{}", connection: int = 0, *, again: bool = False) -> Message:
    return Message("gengfu/hq/pump/P-1/telemetry", payload, mid, connection, mid, redelivered=again)


def test_it_is_full_by_messages_or_by_bytes_until_half_is_taken() -> None:
    by_number, by_bytes = Inbox(most_messages=4), Inbox(most_bytes=100)
    by_number.put([message(mid) for mid in range(1, 6)])
    by_bytes.put([message(1, b" " * 60), message(2, b" " * 60)])
    assert by_number.is_full
    assert by_bytes.is_full
    by_number.take(2)
    assert by_number.is_full
    by_number.take(1)
    assert not by_number.is_full
    by_bytes.take(2)
    assert (by_bytes.is_full, by_bytes.size) == (False, 0)


def test_large_messages_are_taken_a_few_at_a_time_and_a_huge_one_alone() -> None:
    inbox = Inbox()
    inbox.put([message(mid, b" " * size) for mid, size in enumerate((5, 3, 1, 20, 1), 1) for size in [size * 2**20]])
    assert [[found.mid for found in inbox.take(100)] for _ in range(4)] == [[1, 2], [3], [4], [5]]


def test_what_is_in_hand_is_not_taken_again_and_is_acknowledged_on_the_new_connection() -> None:
    inbox = Inbox()
    inbox.put([message(1), message(2), message(3)])
    first, second = inbox.take(2)
    inbox.end_connection()
    assert len(inbox) == 0, "what was not taken comes again"
    assert inbox.finish([first]) == [], "never on a connection on which it has not come"
    assert inbox.put([message(mid, connection=1, again=True) for mid in (1, 2, 3)]) == [1]
    assert [found.mid for found in inbox.take(10)] == [3]
    assert inbox.finish([second]) == [2]


def test_a_packet_id_alone_makes_no_message_the_same() -> None:
    inbox = Inbox()
    inbox.put([message(1, b"fire")])
    inbox.take(1)
    inbox.end_connection()
    inbox.put([message(1, b"clear", 1, again=True)])
    assert [found.payload for found in inbox.take(10)] == [b"clear"]


def test_in_a_new_session_nothing_is_the_same() -> None:
    inbox = Inbox()
    inbox.put([message(1), message(2)])
    in_hand, finished = inbox.take(2)
    inbox.end_connection()
    inbox.finish([finished])
    inbox.forget_session()
    assert inbox.put([message(1, connection=1, again=True), message(2, connection=1, again=True)]) == []
    assert len(inbox.take(10)) == 2
    assert inbox.finish([in_hand]) == [], "its packet id means another message now"


def test_what_was_acknowledged_is_new_when_its_packet_id_comes_again() -> None:
    """The broker may have given the id to another message with the same text."""
    inbox = Inbox()
    inbox.put([message(1)])
    assert inbox.finish(inbox.take(1)) == [1]
    inbox.end_connection()
    inbox.put([message(1, connection=1, again=True)])
    assert len(inbox.take(1)) == 1


@given(st.lists(st.sampled_from(["send", "take", "finish", "lose"]), max_size=60))
def test_each_message_is_taken_once_and_acknowledged_in_order_whenever_the_connection_is_lost(acts: list[str]) -> None:
    """A broker that keeps what is not acknowledged, and sends it again in order; losses at any moment."""
    inbox = Inbox()
    unacknowledged: list[int] = []
    taken: list[Message] = []
    seen: list[int] = []
    sent = connection = 0

    def acknowledge(mids: list[int]) -> None:
        for mid in mids:
            assert mid == unacknowledged.pop(0), "in order"

    for act in (*acts, "lose", "take", "finish"):
        if act == "send":
            sent += 1
            unacknowledged.append(sent)
            acknowledge(inbox.put([message(sent, connection=connection)]))
        elif act == "take":
            taken += (new := inbox.take(2 if act in acts[-3:] else 100))
            seen += [item.mid for item in new]
        elif act == "finish":
            done, taken = taken, []
            acknowledge(inbox.finish(done))
        else:
            inbox.end_connection()
            connection += 1
            again = [message(mid, connection=connection, again=True) for mid in unacknowledged]
            acknowledge(inbox.put(again))
    taken += inbox.take(100)
    assert seen + [item.mid for item in taken if item.mid not in seen] == list(range(1, sent + 1))
    assert len(seen) == len(set(seen))
    acknowledge(inbox.finish(taken))
    assert unacknowledged == []
