"""Mosquitto's password format. Needs only Python: deploy/make_secrets.py runs before anything is installed."""

import base64
import hashlib
import secrets
from typing import Final

_ROUNDS: Final = 101
"""mosquitto_passwd's default. The passwords are random (192 bits), and each connection of a device repeats the work."""
_SALT_BYTES: Final = 12
_PASSWORD_BYTES: Final = 24


def new_password() -> str:
    """192 random bits, as 32 characters that need no escaping in a shell or a web form."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def mosquitto_line(user: str, password: str) -> str:
    """A line of Mosquitto's password file: `$7$`, PBKDF2 with SHA-512, as mosquitto_passwd 2.0 writes it."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"{user}:$7${_ROUNDS}${_base64(salt)}${_base64(digest)}\n"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
