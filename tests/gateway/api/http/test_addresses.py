"""Addresses: which host the service answers to, whose page is its own, and where a request comes from."""

import pytest

from gateway.api.http.addresses import Entrance, is_loopback, unmapped

PLAIN = Entrance()
PUBLIC = Entrance(public_url="https://watch.example.net:8443", behind_proxy=True, trusted_proxies=("10.1.0.0/16",))


@pytest.mark.parametrize(
    ("entrance", "host", "answers"),
    [
        (PLAIN, "127.0.0.1:8080", True),
        (PLAIN, "watch.example.net", False),
        (PUBLIC, "watch.example.net", True),
        (PUBLIC, "watch.example.net:8443", True),
        (PUBLIC, "evil.watch.example.net", False),
        (PUBLIC, "[", False),
        (PUBLIC, "", False),
    ],
)
def test_the_service_answers_to_its_own_names_only(entrance: Entrance, host: str, answers: bool) -> None:
    assert entrance.answers_to(host) is answers


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("https://watch.example.net:8443", "127.0.0.1:8080", True),
        ("https://WATCH.example.net:8443", "127.0.0.1:8080", True),
        ("http://watch.example.net:8443", "127.0.0.1:8080", False),  # not over TLS
        ("https://watch.example.net", "127.0.0.1:8080", False),  # another port is another site
        ("file://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("", "127.0.0.1:8080", False),
        ("https://[", "127.0.0.1:8080", False),
        ("https://watch.example.net:99999", "127.0.0.1:8080", False),
    ],
)
def test_a_page_behind_the_proxy_is_ours_by_its_whole_origin(origin: str, host: str, own: bool) -> None:
    assert PUBLIC.is_own_origin(origin, host) is own


@pytest.mark.parametrize(
    ("entrance", "origin", "host", "own"),
    [
        (PLAIN, "http://127.0.0.1:8080", "127.0.0.1:8080", True),
        (PLAIN, "https://127.0.0.1:8080", "127.0.0.1:8080", False),
        (PLAIN, "http://127.0.0.1", "127.0.0.1:80", True),  # the port that goes without saying
        (PLAIN, "https://127.0.0.1", "127.0.0.1", False),
        (PLAIN, "http://127.0.0.1:8080/page", "127.0.0.1:8080", False),  # no origin has a path
        (PLAIN, "http://me@127.0.0.1:8080", "127.0.0.1:8080", False),
        (Entrance(tls=True), "https://127.0.0.1:8443", "127.0.0.1:8443", True),
        (Entrance(tls=True), "http://127.0.0.1:8443", "127.0.0.1:8443", False),
        (PUBLIC, "http://watch.example.net", "watch.example.net", False),
        (PUBLIC, "https://watch.example.net", "watch.example.net", False),
        (PUBLIC, "https://watch.example.net:8443", "watch.example.net", True),
    ],
)
def test_scheme_and_port_are_part_of_an_origin(entrance: Entrance, origin: str, host: str, own: bool) -> None:
    assert entrance.is_own_origin(origin, host) is own


@pytest.mark.parametrize(
    ("entrance", "peer", "forwarded", "address"),
    [
        (PLAIN, "127.0.0.1", ["203.0.113.9"], "127.0.0.1"),  # without a proxy nobody is believed
        (PUBLIC, "10.1.2.3", ["203.0.113.9"], "203.0.113.9"),
        (
            PUBLIC,
            "10.1.2.3",
            ["198.51.100.1, 203.0.113.9"],
            "203.0.113.9",
        ),  # what the client wrote itself stands before
        (PUBLIC, "10.1.2.3", ["198.51.100.1", "203.0.113.9, 10.1.9.9"], "203.0.113.9"),  # two proxies
        (PUBLIC, "10.1.2.3", ["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (PUBLIC, "10.1.2.3", [], "10.1.2.3"),
        (PUBLIC, "10.1.2.3", ["nonsense"], "10.1.2.3"),
        (PUBLIC, "10.1.2.3", ["203.0.113.9, nonsense"], "10.1.2.3"),
        (PUBLIC, "10.1.2.3", ["2001:db8::1"], "2001:db8::1"),
        (PUBLIC, "203.0.113.1", ["127.0.0.1"], "203.0.113.1"),  # no proxy of ours
    ],
)
def test_where_a_request_comes_from(entrance: Entrance, peer: str, forwarded: list[str], address: str) -> None:
    assert entrance.address_of(peer, forwarded) == address


@pytest.mark.parametrize(
    ("entrance", "cookie"),
    [
        (PLAIN, "gengfu_login"),
        (PUBLIC, "__Host-gengfu_login"),
        (Entrance(tls=True), "__Host-gengfu_login"),
        (Entrance(public_url="http://127.0.0.1:8080"), "gengfu_login"),
    ],
)
def test_over_tls_the_cookie_is_bound_to_this_host(entrance: Entrance, cookie: str) -> None:
    assert entrance.login_cookie == cookie


@pytest.mark.parametrize(
    ("address", "plain"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("", "")],
)
def test_an_ipv4_address_is_the_same_however_the_system_shows_it(address: str, plain: str) -> None:
    assert unmapped(address) == plain


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.2", True), ("::1", True), ("10.0.0.1", False), ("", False)]
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
