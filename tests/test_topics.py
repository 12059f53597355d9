"""Topics of the wire contract: built and read back, and refused with a text that helps."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.fields import WIRE_KINDS, Channel, Kind
from collectors.topics import SUBSCRIPTION, Topic, TopicError, parse_topic

NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=64)


@given(NAMES, st.sampled_from(WIRE_KINDS), NAMES, st.sampled_from(Channel))
def test_a_topic_reads_back_as_it_was_built(site: str, kind: Kind, equipment: str, channel: Channel) -> None:
    topic = Topic(site, kind, equipment, channel)
    assert parse_topic(str(topic)) == topic
    assert str(topic) == f"gengfu/{site}/{kind.value}/{equipment}/{channel.value}"


@given(st.text())
def test_any_text_is_a_topic_of_the_contract_or_refused(text: str) -> None:
    try:
        topic = parse_topic(text)
    except TopicError:
        return
    assert str(topic) == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected gengfu/site/kind/equipment/channel"),  # nothing
        ("gengfu/garden/elevator/L1", "expected gengfu/"),  # one part too few
        ("gengfu/garden/elevator/L1/telemetry/door", "expected gengfu/"),  # one part too many
        ("/gengfu/garden/elevator/L1/telemetry", "expected gengfu/"),  # leading slash
        ("zigbee2mqtt/garden/elevator/L1/telemetry", "expected gengfu/"),  # somebody else's root
        ("Gengfu/garden/elevator/L1/telemetry", "expected gengfu/"),  # the root is lower case
        ("gengfu//elevator/L1/telemetry", "site may have"),  # empty site
        ("gengfu/garden/elevator//telemetry", "equipment may have"),  # empty equipment
        ("gengfu/花园/elevator/L1/telemetry", "site may have"),  # names are ASCII
        ("gengfu/garden/elevator/L 1/telemetry", "equipment may have"),  # a blank
        (
            "gengfu/garden/elevator/L1\n/telemetry",
            "equipment may have",
        ),  # a line end, which `$` would let pass
        ("gengfu/garden/elevator/L1\x00/telemetry", "equipment may have"),  # NUL
        (f"gengfu/{'a' * 65}/elevator/L1/telemetry", "site may have 1 to 64"),  # one character too long
        ("gengfu/garden/lift/L1/telemetry", "unknown kind; permitted: elevator, pump"),  # no kind of ours
        ("gengfu/platform/system/gengfu/telemetry", "unknown kind; permitted"),  # nobody outside speaks for us
        ("gengfu/garden/Elevator/L1/telemetry", "unknown kind"),  # kinds are lower case
        (
            "gengfu/garden/elevator/L1/state",
            "unknown channel; permitted: telemetry, event, status",
        ),  # no channel
        ("gengfu/+/elevator/L1/telemetry", "site may have"),  # a filter is no topic
        ("\ufffd", "expected gengfu/"),  # what the broker's side puts for a topic that is not UTF-8
    ],
)
def test_a_topic_outside_the_contract_is_refused_and_the_wrong_part_is_named(text: str, complaint: str) -> None:
    with pytest.raises(TopicError) as refused:
        parse_topic(text)
    assert complaint in str(refused.value)


def test_a_name_may_have_64_characters() -> None:
    assert parse_topic(f"gengfu/{'a' * 64}/pump/{'9' * 64}/event").site == "a" * 64


def test_the_subscription_matches_topics_of_five_parts() -> None:
    assert SUBSCRIPTION.split("/") == ["gengfu", "+", "+", "+", "+"]
