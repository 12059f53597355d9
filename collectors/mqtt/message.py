"""A message as the broker delivered it."""

import msgspec


class Message(msgspec.Struct, gc=False):
    """One message as received; `connection` is the number of the connection on which its `mid` is valid."""

    topic: str
    payload: bytes
    mid: int
    connection: int
    received_ns: int
    redelivered: bool = False
    retained: bool = False
    oversize: int = 0
    """Bytes of the whole payload if it was too large; then `payload` holds only its first bytes."""
