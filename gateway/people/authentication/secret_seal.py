"""Encrypts the secrets of second factors in the database (AES-256-GCM).

The key is in a file beside the database, not in it: the database, or an unencrypted backup, is not enough to generate
codes. A sealed secret is bound to its person, so it cannot be moved to another account.
"""

import base64
import binascii
import contextlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.people.key_file import KeyReadable, make_key_file, require_private
from gateway.settings import Settings

_NONCE: Final = 12
_PLAIN_LENGTH: Final = 32
"""Characters of a secret (160 bits in base 32); sealed it has 64."""


def seal_file(settings: Settings) -> Path:
    """File of the key."""
    return Path(settings.people.key_file or settings.storage.data_dir / "second_factor.key")


class CannotUnseal(Exception):
    """The key is missing, unreadable or a different one; the text names the file and says what to do."""


class SecretSeal:
    """Encrypts and decrypts with the key of a file, which is created at the first encryption."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cipher: AESGCM | None = None

    def read_key(self) -> None:
        """Read the key before a transaction needs it: a disk may be slow.

        An unreadable key is reported by the first use.
        """
        with contextlib.suppress(CannotUnseal):
            if self._file.exists():
                self._key()

    def seal(self, person: str, secret: str) -> str:
        """64 characters for a secret of 32 (base 32). Raises CannotUnseal."""
        if not self._file.exists():
            try:
                make_key_file(self._file, base64.b64encode(AESGCM.generate_key(256)) + b"\n")
            except OSError as error:
                raise CannotUnseal(f"{self._file}: the key of second factors cannot be created: {error}") from error
        nonce = os.urandom(_NONCE)
        sealed = self._key().encrypt(nonce, base64.b32decode(secret), person.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, person: str, sealed: str) -> str:
        """The secret. Raises CannotUnseal."""
        if not is_sealed(sealed):
            return sealed  # of an earlier version; sealed at the next start
        content = base64.b64decode(sealed)
        try:
            plain = self._key().decrypt(content[:_NONCE], content[_NONCE:], person.encode())
        except InvalidTag as error:
            raise CannotUnseal(f"{self._file}: this is not the key with which this second factor was set up") from error
        return base64.b32encode(plain).decode()

    def _key(self) -> AESGCM:
        if self._cipher is None:
            try:
                require_private(self._file)
                self._cipher = AESGCM(base64.b64decode(self._file.read_bytes(), validate=False))
            except KeyReadable as error:
                raise CannotUnseal(str(error)) from error
            except (OSError, ValueError, binascii.Error) as error:
                raise CannotUnseal(f"{self._file}: the key of second factors cannot be read: {error}") from error
        return self._cipher


def is_sealed(text: str) -> bool:
    """Whether it is sealed; earlier versions stored it unsealed."""
    return len(text) > _PLAIN_LENGTH
