"""The JSON structures about rules."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from gateway.api.http.bodies import Texts

VersionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class RuleSetting(msgspec.Struct, frozen=True):
    """One thing that may be changed in a rule.

    Durations are texts as in a rule file ("90s", "5min"). `value` is null where the rule has none.
    """

    key: str
    value: Any
    unit: str
    """Of a limit or a deadband: of a rate for a minute; "" for all else."""
    given_by: Literal["file", "site", "equipment", "nobody"]
    """Where the value stands; "nobody": it is the one that holds where nobody says anything."""
    file_value: Any
    """As the rule's file has it, null where it says nothing."""


class RuleBody(msgspec.Struct, frozen=True):
    """A rule as it holds at the place that was asked for."""

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
    """Where it stands; "" for a rule that the site has made for itself."""
    field: str
    site: str
    """"" where no site was asked for: then it is as its file has it."""
    equipment: str
    """`{site}:{code}`, "" for all of the site's."""
    site_version: int
    """0 where the site has changed nothing."""
    equipment_version: int
    settings: list[RuleSetting]


class RuleVersionBody(msgspec.Struct, frozen=True):
    """One change of a rule: who changed what when. The newest version at a place holds."""

    id: int
    rule: str
    site: str
    equipment: str
    """`{site}:{code}`, "" for all of the site's."""
    version: int
    changes: dict[str, Any]
    equals: int | None
    """The version that it was rolled back to."""
    person: str
    person_name: Texts
    second_person: str | None
    second_person_name: Texts | None
    at: datetime
    note: str


class ChangeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall differ from the rule below it: for one equipment, or for all of the site's.

    `changes` is the whole difference, by the keys of a rule file: what is left out is as below again, and an empty one
    takes everything back. `version` is the one on the screen, 0 where nothing was ever changed here: if it has changed
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
    """Let version `to` hold again at this place, 0 for no change at all. `version` is the one on the screen."""

    site: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    to: VersionNumber
    version: VersionNumber
    equipment: Annotated[str, msgspec.Meta(max_length=129)] = ""
    """`{site}:{code}`, "" for all of the site's."""
    note: Annotated[str, msgspec.Meta(max_length=2000)] = ""
