"""Reads rules from YAML and refuses invalid ones, naming the file, the rule and what is permitted."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from collectors.wire.fields import Channel, Field, FieldType, Kind, fields_of
from collectors.wire.reading import Value
from gateway.alarms.rules.cause_rules import named_cause_complaint, suppression_complaint
from gateway.alarms.rules.condition_files import WrittenCondition, read_condition
from gateway.alarms.rules.conditions import Membership, leaves_of, names_in
from gateway.alarms.rules.rule import Priority, Rule, RuleType, TicketWish
from gateway.alarms.rules.series import MOST_COUNTED
from gateway.equipment.topology import Relation

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHORTEST_MS: Final = 1_000
_DAY_MS: Final = 86_400_000
_MONTH_MS: Final = 31 * _DAY_MS
"""For rare events: a count with `becomes` stores changes only, so few however long its window is."""
_SOONEST_RE_ALARM_MS: Final = 60_000
_ID_LENGTH: Final = 128
_PLAYBOOK_LENGTH: Final = 64
_TEXT_LENGTHS: Final = {"title": 200, "advice": 2000}
"""Characters: the texts are part of every alarm and must be read quickly."""
_MOST_CONDITIONS: Final = 50
"""Of a combination: each is evaluated with every reading."""
_PYTHON_TYPE: Final = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")
LANGUAGES: Final = ("en", "zh-CN")


_ONLY_OF: Final = {
    "when": {RuleType.COMBINATION},
    "becomes": {RuleType.COUNT},
    "times": {RuleType.NO_DATA},
    "of": {RuleType.RESPONSE_TIMEOUT},
    "momentary": {RuleType.EVENT},
}
"""Keys of some types only. A key without effect is refused, as its author would rely on it."""


class RuleError(Exception):
    """A rule file that cannot be used."""


class _Written(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"condition": "while", "inside": "in", "outside": "not_in"},
):
    """A rule as written in a file."""

    id: str
    kind: Kind
    type: RuleType
    title: dict[str, str]
    advice: dict[str, str]
    priority: Priority
    source: str
    equipment: tuple[str, ...] = ("*",)
    instead_of: tuple[str, ...] = ()
    field: str = ""
    above: float | None = None
    below: float | None = None
    deadband: float = 0.0
    inside: list[float | bool | str] = []
    outside: list[float | bool | str] = []
    condition: dict[str, float | bool | str] = {}
    when: WrittenCondition | None = None
    match: dict[str, bool | str | list[bool | str]] = {}
    unless: dict[str, bool | str | list[bool | str]] = {}
    per: list[str] = []
    per_otherwise: list[str] = []
    becomes: list[float | bool | str] = []
    window: str = "0s"
    after: str = "0s"
    times: float = 0.0
    channel: Channel = Channel.TELEMETRY
    of: str = ""
    momentary: bool = False
    on_delay: str = "0s"
    off_delay: str = "0s"
    ticket: TicketWish = TicketWish.NONE
    playbook: str = ""
    latching: bool = False
    re_alarm: str = "0s"
    suppresses: list[Relation] = []
    suppressed_by: list[str] = []
    despite_parent: bool = False
    release_after: str = "0s"


def shipped_rules() -> list[Rule]:
    """The rules that ship with the product, one file per kind."""
    folder = files("gateway.alarms") / "default_rules"
    texts = {
        entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    }
    return [rule for name in sorted(texts) for rule in parse_rules(texts[name], name)]


def load_rules(extra: Iterable[Path] = ()) -> list[Rule]:
    """The shipped rules and those of further files; a repeated id replaces the earlier rule.

    Raises:
        RuleError: a file cannot be read or has an invalid rule.
    """
    rules = {rule.id: rule for rule in shipped_rules()}
    for path in extra:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise RuleError(f"{path}: {error.strerror}") from error
        rules |= {rule.id: rule for rule in parse_rules(text, str(path))}
    for rule in rules.values():
        if rule.of and rule.of not in rules:
            raise RuleError(f"{rule.id}: there is no rule {rule.of} whose alarm could be acknowledged")
        complaint = named_cause_complaint(rule, rules)
        if complaint:
            raise RuleError(f"{rule.id}: {complaint}")
    return list(rules.values())


def parse_rules(text: str, name: str) -> list[Rule]:
    """Read one file's text; `name` is used in errors. Raises RuleError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RuleError(f"{name}: {error}") from error
    if not isinstance(document, dict) or set(document) != {"rules"} or not isinstance(document["rules"], list):
        raise RuleError(f"{name}: expected one list under 'rules:'")
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(document["rules"], 1):
        rule = msgspec.structs.replace(read_rule(entry, f"{name}, rule {number}"), file=name)
        if rule.id in rules:
            raise RuleError(f"{name}, rule {number}: the id {rule.id} is used twice")
        rules[rule.id] = rule
    return list(rules.values())


def read_rule(entry: Any, place: str) -> Rule:
    """Check and read one rule as written in a file; `place` is used in errors. Raises RuleError."""
    identity = entry.get("id") if isinstance(entry, dict) else None
    place = f"{place} ({identity})" if identity else place
    try:
        written = msgspec.convert(entry, _Written)
        rule = _make(written)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise RuleError(f"{place}: {error}") from error
    complaint = _complaint(rule, written)
    if complaint:
        raise RuleError(f"{place}: {complaint}")
    return msgspec.structs.replace(rule, written=entry)


def _make(written: _Written) -> Rule:
    return Rule(
        id=written.id,
        kind=written.kind,
        type=written.type,
        title=written.title,
        advice=written.advice,
        priority=written.priority,
        source=written.source,
        equipment=written.equipment,
        instead_of=written.instead_of,
        field="online" if written.type is RuleType.NO_DATA else written.field,
        above=math.inf if written.above is None else written.above,
        below=-math.inf if written.below is None else written.below,
        deadband=written.deadband,
        values=frozenset(written.inside or written.outside or written.becomes),
        inverted=bool(written.outside),
        condition=written.condition,
        when=read_condition(written.when) if written.when else None,
        match={name: _values(wanted) for name, wanted in written.match.items()},
        unless={name: _values(excepted) for name, excepted in written.unless.items()},
        per=tuple(written.per),
        per_otherwise=tuple(written.per_otherwise),
        window=_milliseconds(written.window),
        after=_milliseconds(written.after),
        times=written.times,
        channel=written.channel,
        of=written.of,
        momentary=written.momentary,
        on_delay=_milliseconds(written.on_delay),
        off_delay=_milliseconds(written.off_delay),
        ticket=written.ticket,
        playbook=written.playbook,
        latching=written.latching,
        re_alarm=_milliseconds(written.re_alarm),
        suppresses=frozenset(written.suppresses),
        suppressed_by=tuple(written.suppressed_by),
        despite_parent=written.despite_parent,
        release_after=_milliseconds(written.release_after),
    )


def _values(wanted: bool | str | list[bool | str]) -> frozenset[Value]:
    return frozenset(wanted if isinstance(wanted, list) else [wanted])


def _milliseconds(text: str) -> int:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration; write 5s, 500ms, 2min, 1h or 8d")
    return round(float(found[1]) * _UNITS_MS[found[2]])


def _complaint(rule: Rule, written: _Written) -> str | None:
    """Why a rule is invalid, or None."""
    for text, texts in (("title", rule.title), ("advice", rule.advice)):
        if set(texts) != set(LANGUAGES) or not all(value.strip() for value in texts.values()):
            return f"{text} must be given in {' and '.join(LANGUAGES)}"
    complaint = _length_complaint(rule) or _life_complaint(rule)
    if complaint:
        return complaint
    foreign = [name for name, types in _ONLY_OF.items() if getattr(written, name) and rule.type not in types]
    if foreign:
        return f"a rule of type {rule.type} has no {', '.join(foreign)}"
    if not (math.isfinite(rule.deadband) and rule.deadband >= 0):
        return "deadband must be a number and cannot be negative"
    return (
        _delay_complaint(rule)
        or suppression_complaint(rule)
        or _CHECKS[rule.type](rule, written)
        or _values_complaint(rule, fields_of(rule.kind, Channel.TELEMETRY))
    )


def _length_complaint(rule: Rule) -> str | None:
    if not 1 <= len(rule.id) <= _ID_LENGTH:
        return f"the id must have 1 to {_ID_LENGTH} characters"
    if (
        len(rule.playbook) > _PLAYBOOK_LENGTH
    ):  # the column's size in PostgreSQL: checked now, not when the alarm is raised
        return f"the playbook's name must have at most {_PLAYBOOK_LENGTH} characters"
    for name, texts in (("title", rule.title), ("advice", rule.advice)):
        if max(map(len, texts.values())) > _TEXT_LENGTHS[name]:
            return f"the {name} must have at most {_TEXT_LENGTHS[name]} characters"
    return None


def _life_complaint(rule: Rule) -> str | None:
    """What is invalid in the lifecycle keys of a rule."""
    if rule.re_alarm and rule.re_alarm < _SOONEST_RE_ALARM_MS:
        return "re_alarm must be 1min or more: the operator needs time to act"
    if (rule.momentary or rule.type is RuleType.RESPONSE_TIMEOUT) and (rule.latching or rule.re_alarm):
        return "an alarm that returns at once neither latches nor re-alarms"
    return None


def _delay_complaint(rule: Rule) -> str | None:
    if rule.type is RuleType.EVENT and (rule.on_delay or rule.off_delay):
        return "an event has no delay"
    if rule.type in (RuleType.COUNT, RuleType.ABSENCE, RuleType.RESPONSE_TIMEOUT) and (rule.on_delay or rule.off_delay):
        return f"a rule of type {rule.type} has its own time and no delay"
    if rule.life_safety and rule.on_delay and rule.type is not RuleType.COMBINATION:
        return "a critical rule has no on_delay: life safety is never delayed (except in a combination)"
    return None


def _limit_complaint(rule: Rule, written: _Written) -> str | None:
    if (written.above is None) == (written.below is None):
        return "a limit rule has either 'above' or 'below'"
    limit = written.below if written.above is None else written.above
    if limit is None or not math.isfinite(limit):
        return "a limit must be a finite number"
    if not rule.field:
        return "a limit rule names its 'field'"
    known = fields_of(rule.kind, Channel.TELEMETRY).get(rule.field)
    if known is not None and known.type is not FieldType.NUMBER:
        return f"{rule.field} is a {known.type}; a limit needs a number"
    return None


def _combination_complaint(rule: Rule, _written: _Written) -> str | None:
    if rule.when is None or rule.field or rule.condition:
        return "a combination has its conditions under 'when', and no 'field' or 'while' beside it"
    if sum(1 for _ in leaves_of(rule.when)) > _MOST_CONDITIONS:
        return f"a combination has at most {_MOST_CONDITIONS} conditions"
    known = fields_of(rule.kind, Channel.TELEMETRY)
    if any(name in fields_of(rule.kind, Channel.STATUS) for leaf in leaves_of(rule.when) for name in names_in(leaf)):
        return "a combination uses telemetry only; the status is for rules of type no_data"
    for leaf in leaves_of(rule.when):
        if isinstance(leaf, Membership):
            complaint = _first_complaint(known, {leaf.field: leaf.values})
            if complaint:
                return complaint
            continue
        for name in names_in(leaf):
            if name in known and known[name].type is not FieldType.NUMBER:
                return f"{name} is a {known[name].type}; a limit needs a number"
    return None


def _state_complaint(rule: Rule, written: _Written) -> str | None:
    if not rule.field or bool(written.inside) == bool(written.outside):
        return "a state rule has a 'field' and either 'in' or 'not_in'"
    return None


def _rate_complaint(rule: Rule, written: _Written) -> str | None:
    if not _SHORTEST_MS <= rule.window <= _DAY_MS:
        return "a rate has a 'window' from 1s to 1d"
    if rule.condition:
        return "a rate has no 'while'"
    return _limit_complaint(rule, written)


def _count_complaint(rule: Rule, written: _Written) -> str | None:
    if not _SHORTEST_MS <= rule.window <= (_MONTH_MS if rule.values else _DAY_MS):
        return "a count has a 'window' from 1s to 1d, with 'becomes' to 31d"
    if not rule.field or written.above is None or not 0 <= written.above <= MOST_COUNTED or written.below is not None:
        return f"a count has a 'field' and 'above', from 0 to {MOST_COUNTED}"
    if written.inside or written.outside or rule.condition:
        return "a count has the values that it counts under 'becomes'; without it the field is a counter"
    known = fields_of(rule.kind, Channel.TELEMETRY).get(rule.field)
    if known is not None and not rule.values and known.type is not FieldType.NUMBER:
        return f"{rule.field} is a {known.type} and no counter; give the values to count under 'becomes'"
    return None


def _no_data_complaint(rule: Rule, written: _Written) -> str | None:
    if rule.after < _SHORTEST_MS or not (rule.times == 0 or 1 < rule.times < math.inf):
        return "a rule for no data has 'after', 1s or more, and may have 'times', more than 1"
    if rule.channel is Channel.STATUS or written.field or rule.condition:
        return "a rule for no data has a 'channel', telemetry or event, and no field"
    return None


def _absence_complaint(rule: Rule, written: _Written) -> str | None:
    if not rule.field or not written.inside or written.outside or rule.condition:
        return "a rule for absence has a 'field' and 'in', the values that must occur"
    return None if rule.after >= _SHORTEST_MS else "a rule for absence has 'after', within which it must happen"


def _response_timeout_complaint(rule: Rule, _written: _Written) -> str | None:
    if not rule.of or rule.after < _SHORTEST_MS:
        return "a rule for a response timeout has 'of', the rule whose alarm it is, and 'after', 1s or more"
    return "life safety is escalated by its ticket" if rule.life_safety else None


def _event_complaint(rule: Rule, _written: _Written) -> str | None:
    known = fields_of(rule.kind, Channel.EVENT)
    if not rule.match and not rule.unless:
        return "an event rule has 'match' or 'unless', the events that it applies to"
    named = (*rule.match, *rule.unless, *rule.per, *rule.per_otherwise)
    unknown = [name for name in named if name not in known]
    if unknown:
        return f"{rule.kind} events have no {', '.join(unknown)}; they have {', '.join(known)}"
    return _first_complaint(known, rule.match)


_CHECKS: Final[dict[RuleType, Callable[[Rule, _Written], str | None]]] = {
    RuleType.LIMIT: _limit_complaint,
    RuleType.STATE: _state_complaint,
    RuleType.EVENT: _event_complaint,
    RuleType.COMBINATION: _combination_complaint,
    RuleType.RATE: _rate_complaint,
    RuleType.COUNT: _count_complaint,
    RuleType.NO_DATA: _no_data_complaint,
    RuleType.ABSENCE: _absence_complaint,
    RuleType.RESPONSE_TIMEOUT: _response_timeout_complaint,
}


def _values_complaint(rule: Rule, known: Mapping[str, Field]) -> str | None:
    """A value that its field never has, such as YAML's bare `off`, which means false: the rule would never apply."""
    fields = {**known, **fields_of(rule.kind, Channel.STATUS)}
    wanted = {name: frozenset({value}) for name, value in rule.condition.items()}
    return _first_complaint(fields, {rule.field: rule.values, **wanted})


def _first_complaint(fields: Mapping[str, Field], wanted: Mapping[str, Iterable[Value]]) -> str | None:
    for name, values in wanted.items():
        field = fields.get(name)
        if field is None:
            continue  # not in the wire contract: its values are not known
        for value in values:
            if type(value) is not _PYTHON_TYPE[field.type]:
                return f"{name} is a {field.type}; it is never {value!r} (a text may need quotes)"
            if field.choices and value not in field.choices:
                return f"{name} is one of {', '.join(field.choices)}; it is never {value!r}"
    return None
