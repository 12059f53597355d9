"""A patrol reader in a guard's hand: held to the tags of a route one after the other, it reports each tap."""

from random import Random
from typing import Annotated

import msgspec

from collectors.wire.fields import Channel
from simulators.devices.device import CALM, Equipment, Texts, Trouble
from simulators.samples import Sample

_Uid = Annotated[str, msgspec.Meta(pattern="^[0-9A-F]{8}([0-9A-F]{6})?$")]


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tag on the wall. `tag` is its UID in hex: 4 or 7 bytes."""

    code: str
    tag: _Uid
    name: Texts


class PatrolReaderSpec(Equipment, frozen=True, kw_only=True, tag="patrol_reader"):
    """`walk_s` is the mean time between two stops; each round is done with the next of the `cards`."""

    checkpoints: Annotated[tuple[Checkpoint, ...], msgspec.Meta(min_length=1)]
    cards: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    walk_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    every_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class PatrolReader:
    """Visits its checkpoints in order, for ever. It has no telemetry and sends only taps."""

    def __init__(self, spec: PatrolReaderSpec, rng: Random) -> None:
        self._spec = spec
        self._rng = rng
        self._stop = 0
        self._round = 0
        self._left_s = rng.uniform(0.2, 0.8) * spec.walk_s

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:  # noqa: ARG002 - walks on
        """The taps of this step; mostly none."""
        self._left_s -= dt_s
        taps = []
        while self._left_s <= 0:
            taps.append(self._tap())
            self._left_s += self._rng.uniform(0.7, 1.3) * self._spec.walk_s
        return taps

    def _tap(self) -> Sample:
        here = self._spec.checkpoints[self._stop]
        card = self._spec.cards[self._round % len(self._spec.cards)]
        self._stop = (self._stop + 1) % len(self._spec.checkpoints)
        self._round += self._stop == 0
        return Sample(Channel.EVENT, {"tag": here.tag, "card": card})
