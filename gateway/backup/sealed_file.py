r"""The file format of a backup: a stream of chunks, each with a seal over its content and position.

    "GENGFU-BACKUP 1\n"
    4 bytes    length of the header
    header     JSON: time, version, and parameters of the seal
    chunks     4 bytes length, of which the highest bit marks the last chunk; then content and seal

Numbers are big-endian; a chunk holds at most 1 MiB. With a passphrase: AES-256-GCM, its key from scrypt with a salt per
file, the chunk's number as nonce, a tag of 16 bytes. Without: the plain content, and its SHA-256. The seal also covers
the header, the number and the length with its mark, so chunks cannot be cut off, exchanged or inserted.
"""

import os
from hashlib import scrypt, sha256
from typing import IO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"GENGFU-BACKUP 1\n"
CHUNK: Final = 1024 * 1024
_LAST: Final = 1 << 31
_LONGEST_HEADER: Final = 64 * 1024
_SCRYPT_N: Final = 2**16
_SCRYPT_R: Final = 8
_MOST_N: Final = 2**18
"""Limit for a header, which is read before it is verified: it must not exhaust the memory."""
_MEMORY: Final = 256 * _SCRYPT_R * _MOST_N
"""Twice the memory of the largest n."""


class BackupDamaged(Exception):
    """The file is not a complete backup; the text says why."""


class PassphraseNeeded(Exception):
    """The backup is encrypted, and no passphrase was given."""


class Header(msgspec.Struct, frozen=True):
    """The unencrypted header before the chunks."""

    made_at: int
    version: str
    revision: str
    """Revision of the database's schema."""
    salt: str = ""
    """Empty: not encrypted."""
    n: int = _SCRYPT_N

    @property
    def encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return bool(self.salt)


class _Seal:
    """Seals and opens chunks by their number."""

    def __init__(self, header: bytes, cipher: AESGCM | None) -> None:
        self._header = sha256(header).digest()
        self._cipher = cipher
        self._number = 0
        self.size = 32 if cipher is None else 16

    def _place(self, mark: bytes) -> tuple[bytes, bytes]:
        nonce = self._number.to_bytes(12, "big")
        self._number += 1
        return nonce, self._header + nonce + mark

    def close(self, content: bytes, mark: bytes) -> bytes:
        nonce, place = self._place(mark)
        if self._cipher is None:
            return content + sha256(place + content).digest()
        return self._cipher.encrypt(nonce, content, place)

    def open(self, sealed: bytes, mark: bytes) -> bytes:
        nonce, place = self._place(mark)
        if self._cipher is not None:
            return self._cipher.decrypt(nonce, sealed, place)
        content, digest = sealed[: -self.size], sealed[-self.size :]
        if sha256(place + content).digest() != digest:
            raise InvalidTag
        return content


def _cipher(header: Header, passphrase: str) -> AESGCM | None:
    if not header.encrypted:
        return None
    if not 2 <= header.n <= _MOST_N or header.n & (header.n - 1):
        raise BackupDamaged("its header has invalid key parameters")
    salt, secret = bytes.fromhex(header.salt), passphrase.encode()
    return AESGCM(scrypt(secret, salt=salt, n=header.n, r=_SCRYPT_R, p=1, dklen=32, maxmem=_MEMORY))


class SealedWriter:
    """A writer like a file. The backup is complete only after `finish`."""

    def __init__(self, file: IO[bytes], header: Header, passphrase: str) -> None:
        if passphrase:
            header = msgspec.structs.replace(header, salt=os.urandom(16).hex())
        encoded = msgspec.json.encode(header)
        self._file = file
        self._seal = _Seal(encoded, _cipher(header, passphrase))
        self._waiting = bytearray()
        file.write(MAGIC + len(encoded).to_bytes(4, "big") + encoded)

    def write(self, content: bytes) -> int:
        """Write bytes, in chunks."""
        self._waiting += content
        while len(self._waiting) > CHUNK:
            self._put(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(content)

    def finish(self) -> None:
        """Write the last chunk; nothing may follow."""
        self._put(bytes(self._waiting), last=True)

    def _put(self, content: bytes, *, last: bool) -> None:
        mark = (len(content) | (_LAST if last else 0)).to_bytes(4, "big")
        self._file.write(mark + self._seal.close(content, mark))


def read_header(file: IO[bytes]) -> tuple[Header, bytes]:
    """The header and its bytes, not verified yet. Raises BackupDamaged."""
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupDamaged("it is not a backup of Gengfu")
    length = int.from_bytes(file.read(4), "big")
    encoded = file.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header = msgspec.json.decode(encoded, type=Header)
        bytes.fromhex(header.salt)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BackupDamaged(f"its header cannot be read: {error}") from error
    return header, encoded


class SealedReader:
    """A reader like a file; returns each chunk only after its seal was checked.

    Raises:
        BackupDamaged: not a backup, truncated, changed, or wrong passphrase.
        PassphraseNeeded: encrypted, and none was given.
    """

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        self._file = file
        self.header, encoded = read_header(file)
        if self.header.encrypted and not passphrase:
            raise PassphraseNeeded("the backup is encrypted; give its passphrase (GENGFU_BACKUP__PASSPHRASE)")
        self._seal = _Seal(encoded, _cipher(self.header, passphrase))
        self._ready = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Like a file: at most `size` bytes, fewer only at the end."""
        parts = []
        while size != 0 and (self._ready or self._next()):
            taken = self._ready if size < 0 else self._ready[:size]
            self._ready = self._ready[len(taken) :]
            parts.append(taken)
            size = size if size < 0 else size - len(taken)
        return b"".join(parts)

    def finish(self) -> None:
        """Read the rest, to detect a truncated end. Raises BackupDamaged."""
        while self._next():
            pass

    def _next(self) -> bool:
        if self._ended:
            return False
        mark = self._file.read(4)
        word = int.from_bytes(mark, "big")
        length = word & ~_LAST
        sealed = self._file.read(length + self._seal.size) if len(mark) == 4 and length <= CHUNK else b""
        if len(sealed) != length + self._seal.size:
            raise BackupDamaged("it is truncated: its end is missing")
        try:
            self._ready = memoryview(self._seal.open(sealed, mark))
        except InvalidTag:
            why = "wrong passphrase, or bytes have changed" if self.header.encrypted else "bytes have changed"
            raise BackupDamaged(f"it cannot be read: {why}") from None
        self._ended = bool(word & _LAST)
        if self._ended and self._file.read(1):
            raise BackupDamaged("there is data after its end")
        return True
