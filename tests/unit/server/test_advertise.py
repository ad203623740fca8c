"""Which URL new machines are told to dial."""

from __future__ import annotations

import pytest

from ghostwire.errors import ValidationError
from ghostwire.server.advertise import advertise, certificate_names, default_route_source, local_addresses
from ghostwire.server.listen.endpoint import Endpoint, parse_listen, parse_origin

ANY = Endpoint("0.0.0.0", 8443)


@pytest.mark.parametrize(
    ("listening", "public", "route", "addresses", "url"),
    [
        (ANY, ["https://mesh.example.com"], "192.0.2.1", ["192.0.2.2"], "https://mesh.example.com"),
        (Endpoint("192.0.2.9", 443), [], "192.0.2.1", [], "https://192.0.2.9"),
        (Endpoint("::1", 8443), [], None, [], "https://[::1]:8443"),
        (ANY, [], "192.0.2.1", ["192.0.2.2"], "https://192.0.2.1:8443"),
        (Endpoint("::", 8443), [], "2001:db8::5", [], "https://[2001:db8::5]:8443"),
        (ANY, [], None, ["192.0.2.2", "192.0.2.3"], "https://192.0.2.2:8443"),
        (ANY, [], None, [], "https://127.0.0.1:8443"),
    ],
)
def test_the_order_of_choices(
    listening: Endpoint, public: list[str], route: str | None, addresses: list[str], url: str
) -> None:
    chosen = advertise(listening, "https", public, lambda: route, lambda: addresses)
    assert chosen.url == url
    assert (chosen.warning is not None) == (url == "https://127.0.0.1:8443")


def test_this_machine_can_be_asked() -> None:
    assert all(not address.startswith("127.") for address in local_addresses())
    source = default_route_source()
    assert source is None or source in local_addresses()


def test_the_certificate_names_what_is_dialled() -> None:
    names = certificate_names(ANY, ["https://mesh.example.com:444", "https://[2001:db8::1]"], ["192.0.2.2"])
    assert names == ["mesh.example.com", "2001:db8::1", "localhost", "127.0.0.1", "::1", "192.0.2.2"]
    assert certificate_names(Endpoint("192.0.2.7", 1), [], ["192.0.2.2"])[-1] == "192.0.2.7"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("0.0.0.0:8443", "0.0.0.0", 8443), ("[::]:1", "::", 1), ("localhost:0", "localhost", 0), (":5", "", 5)],
)
def test_addresses_to_listen_on(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == (host, port)


@pytest.mark.parametrize("text", ["b\u00fccher:1", "8443", "::1:8443", "a:b", "a:70000", "a:", "a:-1", ""])
def test_what_is_no_address_to_listen_on(text: str) -> None:
    with pytest.raises(ValidationError):
        parse_listen(text)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Mesh.Example.com/", "https://mesh.example.com"),
        ("https://a:443", "https://a"),
        ("http://a:8080", "http://a:8080"),
        ("https://[2001:DB8::1]:444", "https://[2001:db8::1]:444"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert parse_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "https://b\u00fccher.example",
        "mesh",
        "ftp://a",
        "https://",
        "https://a/b",
        "https://u@a",
        "https://a:x",
        "https://a?q",
    ],
)
def test_what_is_no_origin(url: str) -> None:
    with pytest.raises(ValidationError):
        parse_origin(url)
