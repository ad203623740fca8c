"""The header parser and the filter rules against their slow twins."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ghostwire._native import tunnel
from ghostwire.errors import ValidationError
from ghostwire.model.filter import FilterRule
from tests.reference import filter as twin

OWN = ["100.64.0.1", "fd7a:115c:a1e0::1"]
ADDRESSES4 = ["100.64.0.1", "100.64.0.2", "10.0.0.7", "192.168.1.1"]
ADDRESSES6 = ["fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2", "2001:db8::7", "::ffff:1.2.3.4"]
PREFIXES = ["100.64.0.0/10", "100.64.0.2/32", "10.0.0.7", "0.0.0.0/0", "::/0", "fd7a:115c:a1e0::/48", "10.1.2.3/8"]
OPTIONS = [b"", b"\x01\x01\x00\x00", b"\x83\x04\x04\x00", b"\x94\x04\x00\x00", b"\x07\x20\x01\x01"]
PROTOCOLS = [0, 1, 6, 17, 33, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 136, 139, 140, 255]


def segment(draw: st.DrawFn, protocol: int) -> bytes:
    body = draw(st.binary(max_size=64))
    if protocol == 6 and draw(st.booleans()):
        body = draw(st.binary(min_size=12, max_size=12)) + bytes([draw(st.sampled_from([0x50, 0x60, 0x40, 0xF0]))])
        body += draw(st.binary(min_size=7, max_size=48))
    if protocol in {1, 58} and draw(st.booleans()):
        kind = draw(st.sampled_from([0, 3, 5, 8, 11, 12, 1, 2, 4, 128, 129, 135]))
        body = bytes([kind, 0, 0, 0]) + draw(st.binary(min_size=4, max_size=64))
    if protocol in {17, 33, 132, 136} and draw(st.booleans()):
        ports = [draw(st.sampled_from([22, 53, 80, 443, 65_535])) for _ in range(2)]
        body = b"".join(port.to_bytes(2, "big") for port in ports) + draw(st.binary(min_size=4, max_size=20))
    return body


@st.composite
def ipv4(draw: st.DrawFn) -> bytes:
    protocol = draw(st.sampled_from(PROTOCOLS))
    options = draw(
        st.sampled_from([b"", b"\x01\x01\x00\x00", b"\x83\x04\x04\x00", b"\x94\x04\x00\x00", b"\x07\x20\x01\x01"])
    )
    body = segment(draw, protocol)
    word = draw(st.sampled_from([0, 0, 0, 0x4000, 0x2000, 1, 7, 8, 0x2008, 0x1FFF]))
    total = 20 + len(options) + len(body) + draw(st.sampled_from([0, 0, 0, 0, 1, -1, -9]))
    head = bytes([0x45 + len(options) // 4, 0]) + max(0, total).to_bytes(2, "big") + b"\x12\x34"
    head += word.to_bytes(2, "big") + bytes([64, protocol, 0, 0])
    ends = [ipaddress.IPv4Address(draw(st.sampled_from(ADDRESSES4))).packed for _ in range(2)]
    return head + b"".join(ends) + options + body + draw(st.sampled_from([b"", b"", bytes(8)]))


@st.composite
def ipv6(draw: st.DrawFn) -> bytes:
    chain = draw(st.lists(st.sampled_from([0, 43, 44, 51, 60, 135, 139, 140]), max_size=10))
    final = draw(st.sampled_from(PROTOCOLS))
    body = b""
    for following in [*chain[1:], final] if chain else []:
        size = draw(st.sampled_from([0, 0, 0, 1, 4]))
        word = draw(st.sampled_from([b"\x00\x00", b"\x00\x00", b"\x00\x01", b"\x00\x08", b"\x01\x01"]))
        body += bytes([following, size]) + word + bytes(4) + bytes(draw(st.sampled_from([size * 8, 4, 0])))
    body += segment(draw, final)
    length = len(body) + draw(st.sampled_from([0, 0, 0, 0, 1, -1, -9]))
    head = b"\x60\x00\x00\x00" + max(0, length).to_bytes(2, "big") + bytes([chain[0] if chain else final, 64])
    ends = [ipaddress.IPv6Address(draw(st.sampled_from(ADDRESSES6))).packed for _ in range(2)]
    return head + b"".join(ends) + body + draw(st.sampled_from([b"", b"", bytes(8)]))


packets = st.one_of(ipv4(), ipv6(), st.binary(max_size=80))
prefixes = st.lists(st.sampled_from(PREFIXES), max_size=2)
ranges = st.lists(st.sampled_from([[22, 22], [53, 80], [0, 65_535], [443, 443]]), max_size=2)
rules = st.fixed_dictionaries(
    {},
    optional={
        "classes": st.lists(st.integers(1, 3), max_size=2),
        "same_owner": st.booleans(),
        "prefixes": prefixes,
        "destinations": prefixes,
        "ports": ranges,
        "protocols": st.lists(st.sampled_from([1, 6, 17, 58]), max_size=2),
        "deny": st.sampled_from([False, False, False, True]),
        "until": st.sampled_from([0, 0, 50, 100]),
    },
)


@settings(max_examples=800, deadline=None)
@given(packets)
@example(b"")
@example(b"\x45")
@example(b"\x60" + bytes(39))
def test_the_parser_is_its_twin(packet: bytes) -> None:
    assert tunnel.parse_headers(packet) == twin.parse_headers(packet)


@settings(max_examples=800, deadline=None)
@given(
    st.lists(rules, max_size=4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
    packets,
    st.sampled_from([0, 49, 50, 100]),
)
def test_the_rules_are_their_twin(
    listed: list[dict[str, object]], peer_class: int, peer_owner: int, owner: int, packet: bytes, utc: int
) -> None:
    encoded = json.dumps(listed).encode()
    asked = (encoded, peer_class, peer_owner, owner, OWN, packet, utc)
    assert tunnel.filter_decide(*asked) == twin.filter_decide(*asked)


def test_every_field_of_the_model_is_understood() -> None:
    """The rules that a map carries are the rules that the engine reads."""
    full = FilterRule(
        classes=(1,),
        same_owner=True,
        prefixes=("10.0.0.0/8",),
        destinations=("fd7a::/16",),
        ports=((1, 2),),
        protocols=(6,),
        deny=True,
        until=1 << 62,
        rule=1 << 52,
    )
    fields = {name: getattr(full, name) for name in FilterRule.__struct_fields__}
    assert not any(value == FilterRule.__struct_defaults__[index] for index, value in enumerate(fields.values()))
    tunnel.filter_decide(json.dumps([fields]).encode(), 1, 0, 0, OWN, b"")
    with pytest.raises(ValidationError):
        tunnel.filter_decide(json.dumps([fields | {"another": 1}]).encode(), 1, 0, 0, OWN, b"")
