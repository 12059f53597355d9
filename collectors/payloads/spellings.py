"""The usual spellings of booleans, numbers and choices, and the words that indicate an alarm. Pure.

Only unambiguous spellings are read. "open" for a leak, "high" for smoke or 96,5 for a number are ambiguous: they are
not a value and become a fault of the field.
"""

import re
from functools import lru_cache
from typing import Final

from collectors.wire.fields import Field

_TRUE: Final = frozenset({"true", "t", "on", "yes", "y", "1", "1.0", "是", "开", "真", "有"})
_FALSE: Final = frozenset({"false", "f", "off", "no", "n", "0", "0.0", "否", "关", "假", "无"})
_TROUBLE: Final = frozenset(
    {
        "alarm", "alert", "alarming", "active", "triggered", "detected", "fault", "failed", "failure", "abnormal",
        "emergency", "报警", "告警", "警报", "火警", "故障", "异常", "触发",
    }
)  # fmt: skip
_NO_TROUBLE: Final = frozenset(
    {"normal", "ok", "okay", "good", "clear", "cleared", "inactive", "none", "safe", "正常", "无报警", "恢复", "良好"}
)
_OF_FIELD: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "leak": (
        frozenset({"leak", "leaking", "leakage", "water", "wet", "flood", "漏水", "水浸", "浸水", "有水"}),
        frozenset({"dry", "no_leak", "no leak", "无漏水", "无水"}),
    ),
    "smoke": (
        frozenset({"smoke", "smoke detected", "fire", "烟", "有烟", "烟雾", "烟雾报警"}),
        frozenset({"no smoke", "no_smoke", "无烟"}),
    ),
    "alarm_button": (
        frozenset({"pressed", "press", "sos", "按下"}),
        frozenset({"released", "not pressed", "not_pressed", "idle", "松开", "未按下"}),
    ),
    "online": (frozenset({"online", "connected", "在线"}), frozenset({"offline", "disconnected", "离线"})),
}
"""Field -> further words for true, and for false."""

_CHOICES: Final = {
    "火警": "fire", "火灾": "fire", "火灾报警": "fire", "fire_alarm": "fire", "firealarm": "fire",
    "监管": "supervisory", "故障": "fault", "trouble": "fault", "屏蔽": "disabled", "启动": "started",
    "反馈": "feedback", "复位": "reset", "消音": "silenced", "测试": "test", "查岗": "check_post",
    "感烟": "smoke", "感温": "heat", "手报": "call_point", "手动报警按钮": "call_point", "水流指示器": "flow_switch",
    "自动": "auto", "手动": "manual",
}  # fmt: skip
"""Words of panels, as in the glossary -> the choice of the contract, if the field has that choice."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_BLANKS: Final = re.compile(r"[\s-]+")


def boolean_of(text: str, field: Field) -> bool | None:
    """The meaning of a word for a boolean field; None if it does not have exactly one."""
    word = text.strip().casefold()
    further_true, further_false = _OF_FIELD.get(field.name, (frozenset(), frozenset()))
    if word in _TRUE or word in further_true:
        return True
    if word in _FALSE or word in further_false:
        return False
    if field.trouble is None:
        return None
    if word in _TROUBLE:
        return field.trouble
    return not field.trouble if word in _NO_TROUBLE else None


def number_of(text: str, unit: str = "") -> float | None:
    """The number in a text, alone or followed by the field's own unit; None if it is anything else."""
    text = text.strip()
    if unit:
        text = text.removesuffix(unit).rstrip()
    return float(text) if _NUMBER.fullmatch(text) else None


def choice_of(text: str, field: Field) -> str:
    """A text in the spelling of the field's choices if it is one of them, else in lower case."""
    word = text.strip().lower()
    if word in field.choices:
        return word
    joined = _BLANKS.sub("_", word)
    if joined in field.choices:
        return joined
    other = _CHOICES.get(joined, "")
    return other if other in field.choices else word


# -- words that indicate an alarm --------------------------------------------------------------------------

_LIFE_WORDS: Final = frozenset({"smoke", "fire", "sos", "panic", "emergency", "entrapment", "trapped"})
_ALARM_WORDS: Final = _LIFE_WORDS | {
    "alarm", "alarms", "alert", "leak", "leakage", "leaking", "water", "flood", "flooding", "gas", "co", "heat",
}  # fmt: skip
_LIFE_SIGNS: Final = ("烟", "火", "求助", "求救", "困人", "紧急", "报警按钮")
_ALARM_SIGNS: Final = (*_LIFE_SIGNS, "水浸", "漏水", "报警", "告警", "警报", "燃气")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_JOINED: Final = ("smoke", "fire", "alarm", "leak", "panic")
"""Searched within words too: `firealarm`, `watersensorleak`."""
_OVER: Final = frozenset(
    {
        "release", "released", "clear", "cleared", "normal", "none", "no", "ok", "recovered", "restored", "dismissed",
        "inactive", "false", "test", "testing",
    }
)  # fmt: skip
_OVER_SIGNS: Final = ("解除", "恢复", "正常", "无报警", "无告警", "无烟", "无火", "无漏水", "测试", "消警", "自检")
_OFF: Final = frozenset({"off", "0", "dry", "unset"})
_RAISED: Final = frozenset(
    {
        "alarm", "alert", "leak", "leaking", "leakage", "smoke", "fire", "flood", "flooding", "wet", "water",
        "detected", "triggered", "trigger", "sos", "panic", "emergency", "burst", "overflow", "gas",
    }
)  # fmt: skip
_RAISED_SIGNS: Final = ("报警", "告警", "警报", "火警", "有烟", "漏水", "水浸", "求助", "求救")


def words_of(text: str) -> set[str]:
    """The words of a text or of a name like `smokeAlarm`, in lower case."""
    return {word.lower() for word in _WORD.findall(text)}


@lru_cache(maxsize=4096)
def sounds_like_alarm(text: str) -> bool:
    """Whether a name or a text mentions a possible alarm: smoke, fire, water, a leak, a call for help."""
    words = words_of(text)
    if words & _ALARM_WORDS or any(part in word for word in words for part in _JOINED):
        return True
    return any(sign in text for sign in _ALARM_SIGNS)


def sounds_like_life_safety(text: str) -> bool:
    """Whether a text mentions fire, smoke or people in need."""
    words = words_of(text)
    if words & _LIFE_WORDS or any(part in word for word in words for part in ("smoke", "fire", "panic")):
        return True
    return any(sign in text for sign in _LIFE_SIGNS)


def alarm_state_of(text: str) -> bool | None:
    """Whether a vendor's sentence reports an active alarm: "smoke alarm with normal battery" does.

    Only the words before "with" are evaluated, if there is one; the end of an alarm ("leak alarm release") and a test
    are not an alarm. None if the sentence mentions no alarm.
    """
    statement = text.lower().partition(" with ")[0]
    words = set(re.findall(r"[a-z0-9]+", statement))
    if words & _OVER or any(sign in statement for sign in _OVER_SIGNS):
        return False
    if words & _RAISED or any(sign in statement for sign in _RAISED_SIGNS):
        return True
    return False if words & _OFF else None
