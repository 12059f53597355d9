"""Topics of the wire contract: built and read back, and refused with a text that helps."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.wire.fields import WIRE_KINDS, Channel, Kind
from collectors.wire.names import code_of, is_name
from collectors.wire.topics import SUBSCRIPTION, Topic, TopicError, names_in, parse_topic

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
    assert parse_topic(str(topic)) == topic


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
        ("gengfu/garden/elevator/ /telemetry", "equipment may have"),  # nothing but a blank
        (
            "gengfu/garden/elevator/L1\n/telemetry",
            "equipment may have",
        ),  # a line end, which `$` would let pass
        ("gengfu/garden/elevator/L1\x00/telemetry", "equipment may have"),  # NUL
        (f"gengfu/{'a' * 65}/elevator/L1/telemetry", "site may have 1 to 64"),  # one character too long
        ("gengfu/garden/lift/L1/telemetry", "unknown kind; permitted: elevator, pump"),  # no kind of ours
        ("gengfu/platform/system/gengfu/telemetry", "unknown kind; permitted"),  # nobody outside speaks for us
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


def test_all_below_the_root_is_subscribed_to_so_that_what_is_beside_the_contract_is_noticed() -> None:
    assert SUBSCRIPTION == "gengfu/#"


@pytest.mark.parametrize(
    ("text", "kind", "channel"),
    [
        ("gengfu/hq/Fire_Panel/P1/event", Kind.FIRE_PANEL, Channel.EVENT),  # case
        ("gengfu/hq/fire-panels/P1/Events", Kind.FIRE_PANEL, Channel.EVENT),  # hyphen, plural
        ("gengfu/hq/fire panel/P1/TELEMETRY", Kind.FIRE_PANEL, Channel.TELEMETRY),  # blank
        ("gengfu/hq/Sensors/P1/statuses", Kind.SENSOR, Channel.STATUS),
    ],
)
def test_kind_and_channel_are_read_however_they_are_spelled(text: str, kind: Kind, channel: Channel) -> None:
    topic = parse_topic(text)
    assert (topic.kind, topic.channel) == (kind, channel)


@given(st.text(min_size=1, max_size=64).filter(is_name))
def test_a_name_in_any_script_has_one_code_which_stands_in_topics(name: str) -> None:
    topic = parse_topic(f"gengfu/hq/sensor/{name}/telemetry")
    assert topic.equipment == code_of(name) == code_of(code_of(name))
    assert parse_topic(str(topic)) == topic
    assert names_in(f"gengfu/hq/sensor/{name}/telemetry", topic).equipment in ("", name.strip())


def test_names_of_a_thousand_rooms_have_a_thousand_codes_and_plain_ones_keep_theirs() -> None:
    rooms = [f"{floor}楼{room}室烟感" for floor in range(1, 41) for room in range(1, 51)]
    assert len({code_of(name) for name in rooms}) == len(rooms)
    assert code_of("P-1") == "P-1"
    assert code_of("Device A") == "Device_A-9066c1"
