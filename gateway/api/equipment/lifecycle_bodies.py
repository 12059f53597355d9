"""What is asked of the life of an equipment. `version` is the one on the screen: where it has changed since, 409."""

from typing import Annotated

import msgspec

from collectors.wire.fields import Kind
from gateway.api.http.bodies import Texts

Code = Annotated[str, msgspec.Meta(pattern=r"^[^/+#\x00-\x1f\x7f:]{1,64}$")]
"""A part of a topic, and no colon: it follows the site's in `{site}:{code}`."""
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class CorrectEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays. Another `kind` only while no alarm of it is open; what it was stays in its history."""

    version: int
    name: Texts | None = None
    place: Texts | None = None
    kind: Kind | None = None


class RenameEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is the new one. Messages under the former one are taken as its own."""

    version: int
    code: Code


class RetireEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    reason: Why


class ReplaceEquipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is the new device's; it may have been heard already, if nobody has adopted it."""

    version: int
    code: Code
    reason: Why
