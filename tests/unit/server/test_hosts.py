"""Whose forwarded headers count, and who a request comes from."""

from __future__ import annotations

import pytest

from ghostwire.errors import PermissionDeniedError, ValidationError
from ghostwire.server.listen.hosts import Doors

DOORS = Doors(["https://mesh.example.com"], ["10.0.0.0/8", "2001:db8::1"])
PROXY = "10.1.2.3"


def forwarded(*hops: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", hop.encode()) for hop in hops]


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("192.0.2.1", forwarded("198.51.100.1"), "192.0.2.1"),
        (PROXY, [], PROXY),
        (PROXY, forwarded("198.51.100.1"), "198.51.100.1"),
        (PROXY, forwarded("198.51.100.1, 203.0.113.9"), "203.0.113.9"),
        (PROXY, forwarded("198.51.100.1, 203.0.113.9, 10.9.9.9"), "203.0.113.9"),
        (PROXY, forwarded("203.0.113.9", "10.9.9.9"), "203.0.113.9"),
        (PROXY, forwarded("not-an-address"), PROXY),
        (PROXY, forwarded("198.51.100.1, junk"), PROXY),
        (PROXY, forwarded("10.0.0.1, 10.0.0.2"), "10.0.0.1"),
        ("2001:db8::1", forwarded("2001:db8::77"), "2001:db8::77"),
        ("", forwarded("198.51.100.1"), ""),
    ],
)
def test_the_client_is_the_nearest_that_is_no_trusted_proxy(
    peer: str, headers: list[tuple[bytes, bytes]], client: str
) -> None:
    assert DOORS.client(peer, headers) == client


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        (PROXY, b"https", "https"),
        (PROXY, b"HTTPS", "https"),
        (PROXY, b"gopher", "http"),
        ("192.0.2.1", b"https", "http"),
    ],
)
def test_the_scheme_is_a_trusted_proxys_to_say(peer: str, said: bytes, scheme: str) -> None:
    assert DOORS.scheme(peer, [(b"x-forwarded-proto", said)], "http") == scheme


def test_one_host_is_named() -> None:
    with pytest.raises(ValidationError):
        DOORS.admit([], "https")
    with pytest.raises(ValidationError):
        DOORS.admit([(b"host", b"localhost"), (b"host", b"localhost")], "https")
    with pytest.raises(PermissionDeniedError):
        DOORS.admit([(b"host", b"[::1")], "https")
    DOORS.admit([(b"host", b"mesh.example.com"), (b"origin", b"https://mesh.example.com")], "https")
    with pytest.raises(PermissionDeniedError):
        DOORS.admit([(b"host", b"mesh.example.com"), (b"origin", b"http://mesh.example.com")], "https")


def test_a_proxy_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError):
        Doors([], ["10.0.0.0/33"])
