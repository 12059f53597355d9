"""The certificates of a new installation: a private authority, and certificates for the broker and the proxy.

FOLDER/ca.crt                     for devices and browsers
FOLDER/ca.key                     signs new certificates and nothing else: kept elsewhere between renewals
FOLDER/mosquitto/certs, nginx     server.crt and server.key, as both read them
"""

import os
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.devices.broker_accounts import DeviceError

_AUTHORITY_LIFE: Final = timedelta(days=3650)
"""Ten years: when an authority expires, all devices lose their connection."""
CERTIFICATE_LIFE: Final = timedelta(days=825)
"""Some browsers accept no longer lifetime."""
_CLOCKS_BEHIND: Final = timedelta(days=1)
"""Backdating, so that a device whose clock is behind accepts a new certificate."""
_AUTHORITY_BITS: Final = 3072
_SERVER_BITS: Final = 2048
"""RSA, because devices in the field may not support anything newer."""
_PLACES: Final = {"mosquitto/certs": ("mosquitto", "localhost", "127.0.0.1"), "nginx": ("localhost", "127.0.0.1")}
"""Folder -> internal names: the container's name and, for health checks, localhost."""
_DNS_NAME: Final = re.compile(
    r"(?:\*\.)?(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z][A-Za-z0-9-]{0,62}"
)
_FOR_OWNER: Final = 0o600
_FOR_SERVERS: Final = 0o644
"""Readable by the containers' users; the folder above is accessible to its owner only."""


class Authority(msgspec.Struct, frozen=True):
    """The signing authority."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def make_first(folder: Path, names: Sequence[str], now: datetime) -> None:
    """Create an authority and both certificates. Raises DeviceError if the folder has some, or a name is invalid."""
    _check(folder, names)
    if (folder / "ca.crt").exists():
        raise DeviceError(f"{folder} has certificates already; --renew creates new ones with the same authority")
    authority = new_authority(f"Gengfu of {names[0]}"[:64], now)
    _write(folder / "ca.key", _pem(authority.key), _FOR_OWNER)
    _write(folder / "ca.crt", authority.certificate.public_bytes(serialization.Encoding.PEM), _FOR_SERVERS)
    _make_servers(folder, authority, names, now)


def renew(folder: Path, names: Sequence[str], now: datetime) -> None:
    """Create both certificates again with the existing authority. Raises DeviceError if it is missing."""
    _check(folder, names)
    _make_servers(folder, _known_authority(folder), names, now)


def new_authority(name: str, now: datetime) -> Authority:
    """An authority that signs certificates of servers, and no further authority."""
    key = rsa.generate_private_key(65537, _AUTHORITY_BITS)
    subject = _named(name)
    signs_only = _key_usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _certificate(subject, subject, key, now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs_only, critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def server_certificate(
    authority: Authority, names: Sequence[str], now: datetime
) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    """A certificate for a server with these names and addresses, and its key."""
    key = rsa.generate_private_key(65537, _SERVER_BITS)
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _certificate(_named(names[0][:64]), authority.certificate.subject, key, now, CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(map(_called, dict.fromkeys(names)))), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256()), key


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    begin = now - _CLOCKS_BEHIND
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(**wanted: bool) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in every})


def _called(name: str) -> x509.GeneralName:
    """A DNS name or an address. Raises DeviceError."""
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        if len(name) <= 253 and _DNS_NAME.fullmatch(name):
            return x509.DNSName(name)
    raise DeviceError(f"{name!r} is neither a name nor an address; use one like gengfu.example.org or 192.0.2.10")


def _check(folder: Path, names: Sequence[str]) -> None:
    if not folder.is_dir():
        raise DeviceError(f"{folder} is not there; run deploy/make_secrets.py, which creates it")
    for name in names:
        _called(name)


def _known_authority(folder: Path) -> Authority:
    try:
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    except FileNotFoundError as error:
        raise DeviceError(
            f"{error.filename} is not there: to renew, copy ca.key and ca.crt back into the folder"
        ) from None
    except ValueError as error:
        raise DeviceError(f"ca.key or ca.crt in {folder} cannot be read: {error}") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise DeviceError(f"ca.key in {folder} is not the key of ca.crt")
    return Authority(certificate, key)


def _make_servers(folder: Path, authority: Authority, names: Sequence[str], now: datetime) -> None:
    for place, inside in _PLACES.items():
        certificate, key = server_certificate(authority, [*names, *inside], now)
        for parent in (*reversed((folder / place).relative_to(folder).parents), Path(place)):
            (folder / parent).mkdir(mode=0o755, exist_ok=True)
        _write(folder / place / "server.key", _pem(key), _FOR_SERVERS)
        _write(folder / place / "server.crt", certificate.public_bytes(serialization.Encoding.PEM), _FOR_SERVERS)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write atomically, and never with wider permissions than intended."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FOR_OWNER), "wb") as writing:
        writing.write(content)
        os.fchmod(writing.fileno(), mode)
        os.fsync(writing.fileno())
    unfinished.replace(file)
