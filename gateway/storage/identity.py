"""Ids that sort by the time at which they were made (UUID version 7, RFC 9562)."""

import itertools
import os
import uuid
from typing import Final

_sequence: Final = itertools.count()


def new_id(now: int) -> str:
    """A fresh id for something made at `now` (epoch ms).

    What one process makes within a millisecond sorts by the order of making: 12 bits count (RFC 9562, 6.2, method 1).
    """
    value = (now & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(8), "big")
    value |= 0x7 << 76 | (next(_sequence) & 0xFFF) << 64
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
