"""A message as the broker delivered it."""

import msgspec


class Message(msgspec.Struct, gc=False):
    """One message as it came; `connection` says on which connection its `mid` is valid."""

    topic: str
    payload: bytes
    mid: int
    connection: int
    received_ns: int
    redelivered: bool = False
    retained: bool = False
    oversize: int = 0
    """Bytes of the whole payload where it was too large to be taken; then `payload` holds its first bytes only."""
