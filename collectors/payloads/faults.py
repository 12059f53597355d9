"""Faults of messages: reasons, for display and for counting."""

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why a message, a sample or a field was quarantined."""

    BAD_TOPIC = "bad_topic"
    NO_MAPPING = "no_mapping"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    BAD_ENCODING = "bad_encoding"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    NO_FIELDS = "no_fields"
    DUPLICATE_KEY = "duplicate_key"
    TOO_MANY_FIELDS = "too_many_fields"
    BAD_FIELD = "bad_field"
    UNKNOWN_CHOICE = "unknown_choice"
    TOO_MANY_SAMPLES = "too_many_samples"
    BAD_TIME = "bad_time"
    REFUSED_BY_STORE = "refused_by_store"
    NOT_DECIDED = "not_decided"
    LEFT_OUT = "left_out"


class Fault(msgspec.Struct, frozen=True):
    """One fault; `detail` says what was expected, `field` is the name of the field if it concerns one."""

    reason: Reason
    detail: str
    field: str = ""
