"""The JSON of rules."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from gateway.api.http.bodies import Texts

VersionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class RuleSetting(msgspec.Struct, frozen=True):
    """One parameter of a rule.

    Durations are texts as in a rule file ("90s", "5min"). `value` is null if the rule has none.
    """

    key: str
    value: Any
    unit: str
    """Unit of a limit or a deadband, for a rate per minute; "" for all others."""
    given_by: Literal["file", "site", "equipment", "nobody"]
    """Where the value was set; "nobody": it is the default."""
    file_value: Any
    """The value in the rule's file, null if it has none."""


class RuleBody(msgspec.Struct, frozen=True):
    """A rule as it applies at the requested place."""

    id: str
    kind: str
    type: str
    title: Texts
    advice: Texts
    priority: str
    life_safety: bool
    enabled: bool
    source: str
    file: str
    """File of the rule; "" for a rule of the site's own."""
    field: str
    site: str
    """"" if no site was requested: then it is the rule of the file."""
    equipment: str
    """`{site}:{code}`, "" for all of the site's."""
    site_version: int
    """0 if the site has not changed it."""
    equipment_version: int
    settings: list[RuleSetting]


class RuleVersionBody(msgspec.Struct, frozen=True):
    """One change of a rule: who changed what when. The newest version at a place applies."""

    id: int
    rule: str
    site: str
    equipment: str
    """`{site}:{code}`, "" for all of the site's."""
    version: int
    changes: dict[str, Any]
    equals: int | None
    """The version to which it was rolled back."""
    person: str
    person_name: Texts
    second_person: str | None
    second_person_name: Texts | None
    at: datetime
    note: str


class ChangeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The overrides of a rule at a place: for one equipment, or for all of the site's.

    `changes` holds all overrides, by the keys of a rule file: omitted keys are inherited again, and an empty one
    removes all overrides. `version` is the version on the screen, 0 if nothing was ever changed here: if it has changed
    since, the answer is 409. An id that no file has makes a rule of the site's own; then `changes` is the whole rule.
    """

    rule: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    site: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    changes: dict[str, Any]
    version: VersionNumber
    equipment: Annotated[str, msgspec.Meta(max_length=129)] = ""
    """`{site}:{code}`, "" for all of the site's."""
    note: Annotated[str, msgspec.Meta(max_length=2000)] = ""


class RollBackRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Roll back to version `to` at this place, 0 for no overrides. `version` is the version on the screen."""

    site: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    to: VersionNumber
    version: VersionNumber
    equipment: Annotated[str, msgspec.Meta(max_length=129)] = ""
    """`{site}:{code}`, "" for all of the site's."""
    note: Annotated[str, msgspec.Meta(max_length=2000)] = ""
