"""Changes in the lifecycle of equipment. `version` is the version on the screen: if it has changed since, 409."""

from typing import Annotated

import msgspec

from collectors.wire.fields import Kind
from gateway.api.http.bodies import Texts

Code = Annotated[str, msgspec.Meta(pattern=r"^[^/+#\x00-\x1f\x7f:]{1,64}$")]
"""A level of a topic, without a colon: it follows the site's in `{site}:{code}`."""
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class CorrectEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Omitted fields stay. `kind` can change only while it has no open alarm; its history keeps the former kind."""

    version: int
    name: Texts | None = None
    place: Texts | None = None
    kind: Kind | None = None


class RenameEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is the new code. Messages under the former code still count as its own."""

    version: int
    code: Code


class RetireEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    reason: Why


class ReplaceEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is the new device's; it may be known already, if it is not adopted."""

    version: int
    code: Code
    reason: Why
