"""The addresses of the service, and the proxies that it trusts for the origin of a request."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.api.http.rate_limits import PACES, Paces

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PORTS: Final = {"http": 80, "https": 443}


class Entrance(msgspec.Struct, frozen=True):
    """How the service may be addressed.

    `hosts` are the names under which it answers, `public_url` is a further address under which people reach it.
    `local` permits access from this machine without a login while there are no accounts: on loopback only.
    """

    hosts: frozenset[str] = LOOPBACK
    public_url: str = ""
    tls: bool = False
    behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    local: bool = False
    paces: Paces = msgspec.field(default_factory=lambda: PACES)

    @property
    def secure(self) -> bool:
        """Whether browsers use TLS, to us or to a proxy: then cookies are sent over TLS only."""
        return self.tls or self.public_url.startswith("https://")

    @property
    def login_cookie(self) -> str:
        """With the prefix a browser accepts the cookie from this host only, over TLS, for every path."""
        return "__Host-gengfu_login" if self.secure else "gengfu_login"

    @property
    def device_cookie(self) -> str:
        """Name of the cookie that identifies a known browser."""
        return "__Host-gengfu_device" if self.secure else "gengfu_device"

    def answers_to(self, host: str) -> bool:
        """Whether the Host of a request is one of ours: a foreign name means DNS rebinding."""
        name = host_of(f"//{host}")
        return name is not None and name in self.hosts | {host_of(self.public_url)}

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether a page with this origin is ours, by scheme, name and port (RFC 6454).

        Args:
            origin: as a browser sends it.
            host: of the request.
        """
        wanted = origin_of(origin)
        if wanted is None or urlsplit(origin).path or "@" in origin:
            return False
        if wanted == origin_of(self.public_url):
            return True
        if self.behind_proxy and host_of(f"//{host}") == host_of(self.public_url):
            return False  # the proxy's name has one address only
        return wanted == origin_of(f"{'https' if self.tls else 'http'}://{host}")

    def trusts(self, peer: str) -> bool:
        """Whether a connection comes from a trusted proxy or from this machine."""
        return is_loopback(peer) or _is_among(peer, self.trusted_proxies)

    def address_of(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The origin of a request: the last address in X-Forwarded-For that is no trusted proxy."""
        if not (self.behind_proxy and self.trusts(peer)):
            return peer
        steps = [step.strip() for line in forwarded_for for step in line.split(",")]
        for step in reversed(steps):
            if not _is_address(step):
                break
            if not self.trusts(step):
                return step
        return peer


def unmapped(address: str) -> str:
    """An IPv4 address in its own form, also if the system shows it as IPv6 (::ffff:192.0.2.1)."""
    found = ip_address(address) if _is_address(address) else None
    return str(found.ipv4_mapped) if isinstance(found, IPv6Address) and found.ipv4_mapped else address


def is_loopback(address: str) -> bool:
    """Whether this is a loopback address."""
    return _is_address(address) and ip_address(address).is_loopback


def host_of(address: str) -> str | None:
    """The host name of an address, None if it has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:  # half an IPv6 address
        return None


def origin_of(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None if one is missing."""
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(address: str, networks: Sequence[str]) -> bool:
    if not _is_address(address):
        return False
    found = ip_address(address)
    return any(found in ip_network(network, strict=False) for network in networks)
