"""The slow twin of rust_ext.tunnel's header parser and filter rules: `ipaddress`, slices and plain loops."""

import ipaddress
import json
from dataclasses import dataclass, field

from ghostwire.errors import ValidationError

MAX_EXTENSIONS = 8
MIN_FRAGMENT_OFFSET = 64

TCP, UDP, DCCP, SCTP, UDP_LITE, ICMP, ICMPV6 = 6, 17, 33, 132, 136, 1, 58
WITH_PORTS = {TCP, UDP, DCCP, SCTP, UDP_LITE}
MINIMUM = {TCP: 20, UDP: 8, UDP_LITE: 8, SCTP: 12, DCCP: 12, ICMP: 8, ICMPV6: 8}
# Extension headers whose second byte counts units of eight bytes beyond the first.
PLAIN_EXTENSIONS = {0, 43, 60, 135, 139, 140}

Parsed = tuple[str, str, int, str, int, int, int, int]


class Refused(Exception):
    """The packet is not understood."""


@dataclass
class _Packet:
    source: str
    destination: str
    protocol: int
    payload: int
    length: int
    fragment: tuple[str, int, int] = field(default=("whole", 0, 0))


def parse_headers(packet: bytes) -> Parsed | None:
    try:
        if not packet:
            return None
        parsed = {4: _ipv4, 6: _ipv6}[packet[0] >> 4](packet)
        kind, first, second = _transport(parsed, packet[parsed.payload : parsed.length])
    except (Refused, KeyError):
        return None
    return parsed.source, parsed.destination, parsed.protocol, kind, first, second, parsed.payload, parsed.length


def _require(condition: bool) -> None:
    if not condition:
        raise Refused


def _number(data: bytes, at: int, size: int) -> int:
    _require(at + size <= len(data))
    return int.from_bytes(data[at : at + size], "big")


def _fragment(more: bool, offset: int, identification: int) -> tuple[str, int, int]:
    if offset == 0:
        return ("first", identification, 0) if more else ("whole", 0, 0)
    _require(offset >= MIN_FRAGMENT_OFFSET)
    return "later", identification, offset


def _ipv4(packet: bytes) -> _Packet:
    _require(len(packet) >= 20)
    payload, length = (packet[0] & 15) * 4, _number(packet, 2, 2)
    _require(20 <= payload <= length <= len(packet))
    _check_options(packet[20:payload])
    word = _number(packet, 6, 2)
    return _Packet(
        str(ipaddress.IPv4Address(packet[12:16])),
        str(ipaddress.IPv4Address(packet[16:20])),
        packet[9],
        payload,
        length,
        _fragment(bool(word & 0x2000), (word & 0x1FFF) * 8, _number(packet, 4, 2)),
    )


def _check_options(options: bytes) -> None:
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        _require(options[0] not in {131, 137})
        _require(len(options) >= 2 and 2 <= options[1] <= len(options))
        options = options[options[1] :]


def _ipv6(packet: bytes) -> _Packet:
    _require(len(packet) >= 40)
    length = _number(packet, 4, 2) + 40
    _require(length <= len(packet))
    body, at, protocol, fragment, followed = packet[:length], 40, packet[6], ("whole", 0, 0), 0
    while fragment[0] != "later" and (protocol in PLAIN_EXTENSIONS or protocol in {44, 51}):
        followed += 1
        _require(followed <= MAX_EXTENSIONS)
        _require(not (protocol == 0 and followed > 1))
        if protocol == 43:
            _require(_number(body, at + 3, 1) == 0)
        if protocol == 44:
            _require(fragment[0] == "whole")
            word = _number(body, at + 2, 2)
            fragment = _fragment(bool(word & 1), word & 0xFFF8, _number(body, at + 4, 4))
            size = 8
        elif protocol == 51:
            size = (_number(body, at + 1, 1) + 2) * 4
        else:
            size = (_number(body, at + 1, 1) + 1) * 8
        protocol, at = _number(body, at, 1), at + size
        _require(at <= length)
    source, destination = ipaddress.IPv6Address(packet[8:24]), ipaddress.IPv6Address(packet[24:40])
    return _Packet(_spell(source), _spell(destination), protocol, at, length, fragment)


def _spell(address: ipaddress.IPv6Address) -> str:
    """As Rust spells it: the dotted form for mapped addresses."""
    mapped = address.ipv4_mapped
    return f"::ffff:{mapped}" if mapped is not None else str(address)


def _transport(parsed: _Packet, segment: bytes) -> tuple[str, int, int]:
    if parsed.fragment[0] == "later":
        return parsed.fragment
    protocol = parsed.protocol
    _require(len(segment) >= MINIMUM.get(protocol, 0))
    if protocol in WITH_PORTS:
        if protocol == TCP:
            _require(20 <= (segment[12] >> 4) * 4 <= len(segment))
        return "ports", _number(segment, 0, 2), _number(segment, 2, 2)
    if protocol not in {ICMP, ICMPV6}:
        return "opaque", 0, 0
    _require((protocol == ICMPV6) == (":" in parsed.source))
    request, reply, errors = (8, 0, {3, 11, 12}) if protocol == ICMP else (128, 129, {1, 2, 3, 4})
    if segment[0] in {request, reply}:
        return "echo", _number(segment, 4, 2), int(segment[0] == request)
    return ("error", 0, 0) if segment[0] in errors else ("icmp", segment[0], segment[1])


def filter_decide(
    rules_json: bytes,
    peer_class: int,
    peer_owner: int,
    self_owner: int,
    self_addresses: list[str],
    packet: bytes,
    utc_ns: int = 0,
) -> bool:
    rules = json.loads(rules_json)
    for rule in rules:
        if any(low > high for low, high in rule.get("ports", [])):
            raise ValidationError("a port range ends before it begins")
    parsed = parse_headers(packet)
    if parsed is None or parsed[3] == "later":
        return False
    matching = [
        rule
        for rule in rules
        if not 0 < rule.get("until", 0) <= utc_ns
        and _source_matches(rule, parsed[0], peer_class, peer_owner, self_owner)
        and _destination_matches(rule, parsed, self_addresses)
    ]
    return bool(matching) and not any(rule.get("deny", False) for rule in matching)


def _inside(address: str, prefixes: list[str]) -> bool:
    ip = ipaddress.ip_address(address)
    networks = [ipaddress.ip_network(prefix, strict=False) for prefix in prefixes]
    return any(ip.version == network.version and ip in network for network in networks)


def _source_matches(rule: dict[str, object], source: str, peer_class: int, peer_owner: int, self_owner: int) -> bool:
    if peer_class in rule.get("classes", []):  # type: ignore[operator]
        return True
    if rule.get("same_owner", False) and peer_owner == self_owner != 0:
        return True
    return _inside(source, rule.get("prefixes", []))  # type: ignore[arg-type]


def _destination_matches(rule: dict[str, object], parsed: Parsed, self_addresses: list[str]) -> bool:
    _, destination, protocol, _, _, port, _, _ = parsed
    protocols, ports = rule.get("protocols", []), rule.get("ports", [])
    if protocols and protocol not in protocols:  # type: ignore[operator]
        return False
    if ports and protocol in WITH_PORTS and not any(low <= port <= high for low, high in ports):  # type: ignore[attr-defined]
        return False
    return _inside(destination, rule.get("destinations") or self_addresses)  # type: ignore[arg-type]
