"""Groups, tag owners, hosts and rules, checked against each other."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

from ghostwire.errors import ValidationError
from ghostwire.policy import hujson

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PROTOCOLS = {"": (6, 17, 1, 58), "icmp": (1, 58), "tcp": (6,), "udp": (17,), "*": ()}
_FIELDS = {"groups", "tagOwners", "hosts", "acls", "grants", "randomizeClientPort"}


class Rule(NamedTuple):
    """Sources may open connections to destinations; no protocols and no ports mean all of them."""

    sources: tuple[str, ...]
    destinations: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    protocols: tuple[int, ...]


class Document(NamedTuple):
    """A policy whose names have been checked."""

    groups: dict[str, list[str]]
    owners: dict[str, list[str]]
    hosts: dict[str, Network]
    rules: tuple[Rule, ...] | None


def _ports(text: str) -> tuple[tuple[int, int], ...]:
    if text == "*":
        return ()
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError as error:
            raise ValidationError(f'port range "{part}": invalid first integer') from error
        if not 0 <= low <= high <= 65535:
            raise ValidationError(f'port range "{part}": expected 0 to 65535, the lower one first')
        found.append((low, high))
    return tuple(found)


def _protocols(name: str) -> tuple[int, ...]:
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name.isdigit() and int(name) < 256:
        return (int(name),)
    raise ValidationError(f"proto={name!r} is not a protocol name or number")


def network(text: str) -> Network | None:
    """Return the prefix that `text` spells, if it does."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _check(selector: str, document: Document) -> None:
    kind, _, _ = selector.partition(":")
    known = (
        selector == "*"
        or selector in document.groups
        or selector in document.owners
        or selector in document.hosts
        or selector in ("autogroup:self", "autogroup:member", "autogroup:tagged", "autogroup:internet")
        or ("@" in selector and kind not in ("group", "tag", "autogroup"))
        or network(selector) is not None
    )
    if not known:
        what = kind if kind in ("tag", "group") else "name"
        raise ValidationError(f'{what} not found: "{selector}"')


def _rule(entry: dict[str, Any]) -> Rule:
    if entry.get("action") != "accept":
        raise ValidationError(f'action="{entry.get("action")}" is not supported')
    destinations = []
    for text in entry.get("dst", []):
        selector, _, ports = text.rpartition(":")
        destinations.append((selector.strip("[]"), _ports(ports)))
    return Rule(tuple(entry.get("src", [])), tuple(destinations), _protocols(entry.get("proto", "")))


def read(text: str) -> Document:
    """Parse and check a policy text."""
    raw = hujson.loads(text)
    if not isinstance(raw, dict):
        raise ValidationError("1:1: expected an object")
    for name in raw:
        if name not in _FIELDS:
            raise ValidationError(f'unknown field "{name}"')
    hosts = {}
    for name, value in raw.get("hosts", {}).items():
        prefix = network(value)
        if prefix is None:
            raise ValidationError(f'hosts["{name}"]: "{value}" is not an address or prefix')
        hosts[name] = prefix
    rules = tuple(_rule(entry) for entry in raw["acls"]) if "acls" in raw else None
    document = Document(raw.get("groups", {}), raw.get("tagOwners", {}), hosts, rules)
    for rule in rules or ():
        for selector in (*rule.sources, *(d for d, _ in rule.destinations)):
            _check(selector, document)
    return document
