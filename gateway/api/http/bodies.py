"""JSON of requests and answers as typed structures, shared by all packages; each package has its own `bodies.py`.

These structures are the contract with the web app and with other programs: OpenAPI is made from them.
Times are RFC 3339 UTC. Texts for people come in both languages.
"""

from typing import Annotated, Generic, TypeVar

import msgspec

Item = TypeVar("Item")
Note = Annotated[str, msgspec.Meta(max_length=2000)]
"""A person's note on an action."""


class Texts(msgspec.Struct, frozen=True, rename={"zh": "zh-CN"}):
    """One text in both languages."""

    en: str
    zh: str


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A list; `next` is the cursor of the following page, null on the last."""

    items: list[Item]
    next: str | None = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details. `code` is stable, the web translates it; `detail` tells people what to do."""

    title: str
    status: int
    code: str
    detail: str = ""
    type: str = "about:blank"


# Live feed. Each message carries `seq`, one more than the one before; a client that misses one reconnects.


def texts(value: dict[str, str]) -> Texts:
    """A text as the tables keep it, for JSON."""
    return Texts(value["en"], value["zh-CN"])
