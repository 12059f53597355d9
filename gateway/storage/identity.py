"""Ids that sort by the time at which they were made (UUID version 7, RFC 9562)."""

import os
import uuid


def new_id(now: int) -> str:
    """A fresh id for something made at `now` (epoch ms)."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (now & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
