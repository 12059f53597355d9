"""The key that signs the audit (Ed25519), and the statement that it signs for each day.

The private key is created at the first start, readable by its owner only, and is copied into encrypted backups only.
The public key is in a file beside it: keep a copy elsewhere, with the checkpoints.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.people.audit.chain import canonical
from gateway.people.key_file import KeyReadable, make_key_file, require_private
from gateway.settings import Settings

PUBLIC_PATTERN: Final = "audit-*.pub"


def key_file(settings: Settings) -> Path:
    """File of the private key; the public ones are beside it."""
    return Path(settings.audit.key_file or settings.storage.data_dir / "audit.key")


def checkpoints_folder(settings: Settings) -> Path:
    """Folder of the signed checkpoints, one file per day."""
    return Path(settings.audit.checkpoints_dir or settings.storage.data_dir / "checkpoints")


class AuditKeyError(Exception):
    """A key file cannot be used; the text names it and says what to do."""


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed statement. Subclasses end with the fields `key` and `signature`."""

    PURPOSE: ClassVar[bytes] = b""
    """Prefix of the signed bytes, so that a signature is valid for one kind of statement only."""

    @property
    def signed_by(self) -> tuple[str, str]:
        """The name of the key, and the signature."""
        content = msgspec.structs.asdict(self)
        return content["key"], content["signature"]

    def signed_bytes(self) -> bytes:
        """The signed bytes."""
        content = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "signature"}
        return self.PURPOSE + canonical(content)


Signed = TypeVar("Signed", bound=Statement)


class Day(Statement, frozen=True):
    """The statement of a day: the rows sealed on it, and the chain's hash before and after them."""

    day: str
    """UTC, as 2026-11-22. A row belongs to the day on which it was sealed."""
    first: int
    last: int
    previous: str
    """Hash of the row before `first`."""
    hash: str
    """Hash of the row `last`."""
    at: int
    closed: bool
    """False while the day is not over."""
    key: str
    signature: str = ""
    PURPOSE: ClassVar[bytes] = b"gengfu audit day\n"


class AuditKey:
    """Signs statements."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.id = key_id(private.public_key())

    def sign(self, statement: Signed) -> Signed:
        """Sign the statement with this key."""
        named = msgspec.structs.replace(statement, key=self.id, signature="")
        return msgspec.structs.replace(named, signature=self._private.sign(named.signed_bytes()).hex())

    def write_public(self, folder: Path) -> None:
        """Write the public key into a folder if it is not there yet."""
        file = folder / f"audit-{self.id}.pub"
        if not file.exists():
            pem = serialization.PublicFormat.SubjectPublicKeyInfo
            file.write_bytes(self._private.public_key().public_bytes(serialization.Encoding.PEM, pem))


def key_id(public: Ed25519PublicKey) -> str:
    """The name of a key: the first 16 digits of its SHA-256."""
    return sha256(public.public_bytes_raw()).hexdigest()[:16]


def is_signed(statement: Statement, keys: Mapping[str, Ed25519PublicKey]) -> bool:
    """Whether a statement has a valid signature of the key that it names. Raises KeyError for an unknown key."""
    key, signature = statement.signed_by
    try:
        keys[key].verify(bytes.fromhex(signature), statement.signed_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True


def open_key(file: Path) -> AuditKey:
    """Load the key from a file; create it, with its public key beside it, if there is none yet.

    Raises:
        AuditKeyError: no private Ed25519 key, or readable by others.
        OSError: the folder cannot be written.
    """
    if not file.exists():
        _make(file)
    try:
        require_private(file)
    except KeyReadable as error:
        raise AuditKeyError(str(error)) from error
    key = AuditKey(_read_private(file))
    key.write_public(file.parent)
    return key


def _make(file: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    make_key_file(file, pem)


def _read_private(file: Path) -> Ed25519PrivateKey:
    try:
        private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuditKeyError(f"{file}: not a private key in PEM; restore it from the backup") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise AuditKeyError(f"{file}: not an Ed25519 key")
    return private


def read_public_keys(files: Iterable[Path]) -> dict[str, Ed25519PublicKey]:
    """Key's name -> key. Raises AuditKeyError for a file that holds no public Ed25519 key, OSError."""
    found = {}
    for file in files:
        try:
            public: Any = serialization.load_pem_public_key(file.read_bytes())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AuditKeyError(f"{file}: not a public key in PEM") from error
        if not isinstance(public, Ed25519PublicKey):
            raise AuditKeyError(f"{file}: not an Ed25519 key")
        found[key_id(public)] = public
    return found
