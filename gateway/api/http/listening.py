"""Where the service listens. Beyond this machine it needs an administrator and encryption."""

import ssl
from typing import Final

from gateway.api.http.addresses import LOOPBACK, Entrance, host_of
from gateway.settings import HttpSettings, SettingsError

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - to recognise them


class NotSafe(SettingsError):
    """With these settings strangers could read the traffic or get access."""


def require_safe_settings(http: HttpSettings) -> None:
    """Check the settings. Raises NotSafe."""
    if bool(http.tls_certificate) != bool(http.tls_key):
        raise NotSafe("http.tls_certificate and http.tls_key belong together: set both, or none")
    if http.host not in LOOPBACK and not (http.tls_certificate or http.behind_proxy):
        raise NotSafe(
            f"http.host is {http.host}: passwords would be sent unencrypted; set http.tls_certificate and "
            "http.tls_key, or set http.behind_proxy = true with a reverse proxy that does TLS; "
            "without both the service listens on 127.0.0.1 only"
        )
    if http.host in _EVERYWHERE and not http.public_url:
        raise NotSafe(f"http.host is {http.host}: set http.public_url to the address by which people reach it")
    if http.behind_proxy and not _has_good_address(http):
        raise NotSafe("http.behind_proxy: set http.public_url to the proxy's address; it begins with https://")
    if http.behind_proxy and http.host not in LOOPBACK and not http.trusted_proxies:
        raise NotSafe("http.behind_proxy: set http.trusted_proxies to the addresses from which the proxy connects")
    if host_of(http.public_url) not in {None, *LOOPBACK} and not (http.tls_certificate or http.behind_proxy):
        raise NotSafe(
            f"http.public_url is {http.public_url}: set http.behind_proxy = true if a reverse proxy serves it, or "
            "set http.tls_certificate and http.tls_key"
        )


def require_administrator(http: HttpSettings, administrators: int) -> None:
    """Check that there is an administrator if the service can be reached from other machines. Raises NotSafe."""
    if _is_reached_by_others(http) and administrators == 0:
        raise NotSafe(
            "other machines can reach this service, and it has no administrator yet: anyone could do everything; "
            "add an account first: gengfu user add NAME --role admin"
        )


def entrance_of(http: HttpSettings, *, demo: bool) -> Entrance:
    """The addresses of the service, and the proxies that it trusts."""
    return Entrance(
        hosts=LOOPBACK | ({http.host} - _EVERYWHERE),
        public_url=http.public_url,
        tls=bool(http.tls_certificate),
        behind_proxy=http.behind_proxy,
        trusted_proxies=http.trusted_proxies,
        local=not demo and not _is_reached_by_others(http),
    )


def tls_context(http: HttpSettings) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with our certificate, or None. Raises SettingsError."""
    if not http.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(http.tls_certificate, http.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"http.tls_certificate or http.tls_key: {error}") from error
    return context


def _is_reached_by_others(http: HttpSettings) -> bool:
    return http.host not in LOOPBACK or http.behind_proxy or host_of(http.public_url) not in {None, *LOOPBACK}


def _has_good_address(http: HttpSettings) -> bool:
    host = host_of(http.public_url)
    return host is not None and (http.public_url.startswith("https://") or host in LOOPBACK)
