"""Checks that the names in a file are valid in a topic, before anything is sent."""

from collectors.wire.fields import Channel, Kind
from collectors.wire.topics import Topic, TopicError, parse_topic


def check_address(site: str, kind: Kind, equipment: str) -> None:
    """Check names from a file.

    Raises:
        TopicError: one of them has characters that a topic may not have.
    """
    topic = Topic(site, kind, equipment, Channel.TELEMETRY)
    try:
        is_address = parse_topic(str(topic)) == topic
    except TopicError:
        is_address = False
    if not is_address:
        raise TopicError(f"site '{site}', equipment '{equipment}': each may have 1 to 64 letters, digits and _.- only")
