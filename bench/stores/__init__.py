"""The same work on four stores: ours, plain SQLite by apsw, SQLite as scripts use it, and SQLAlchemy over aiosqlite.

Five kinds of it, each from the coordinator's day: registrations that come together, decisions under a thousand rules,
nodes that tell where they are now, after which everything is read; nodes that are imported, and nodes looked up by id.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from bench import policies

TOGETHER = 256
"""Nodes that come, or move, at once."""
NODES = 1000
RULES = 1000
DECISIONS = 20
IMPORTED = 1000
"""Nodes that one import brings, and that are looked up one by one."""

SCHEMA = """
CREATE TABLE node(id INTEGER PRIMARY KEY, name TEXT UNIQUE, node_key BLOB UNIQUE, machine_key BLOB, ipv4 TEXT UNIQUE,
    os TEXT, endpoint TEXT, metadata BLOB);
CREATE TABLE preauth(id INTEGER PRIMARY KEY, uses INTEGER NOT NULL);
INSERT INTO preauth VALUES (1, 0)
"""
EVENTS = "CREATE TABLE event(id INTEGER PRIMARY KEY, node INTEGER, kind TEXT, body TEXT)"
"""What stands for a change log where the store has none."""
ACLS = """
CREATE TABLE rule(id INTEGER PRIMARY KEY, protocol INTEGER);
CREATE TABLE source(rule INTEGER REFERENCES rule(id), name TEXT);
CREATE TABLE target(rule INTEGER REFERENCES rule(id), name TEXT, first INTEGER, last INTEGER);
CREATE TABLE membership(node INTEGER, name TEXT);
CREATE INDEX source_name ON source(name);
CREATE INDEX target_name ON target(name);
CREATE INDEX membership_node ON membership(node)
"""
USE = "UPDATE preauth SET uses = uses + 1 WHERE id = 1 AND uses < 1000000"
INSERT = "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
ONE = "SELECT name, node_key, ipv4 FROM node WHERE id = ?"
TELL = "UPDATE node SET endpoint = ? WHERE id = ?"
ALL = "SELECT id, name, node_key, ipv4, endpoint FROM node"

TCP, ANY = 6, 0
Node = tuple[int, str, bytes, bytes, str, str, str, bytes]
Question = tuple[int, int, int]


class Store(Protocol):
    """One of the four. Each call is the work of one moment; what it returned is on the disk."""

    async def register(self, nodes: list[Node]) -> None:
        """Nodes that come at once: each uses a pre-auth key, gets its row, and leaves a record of that."""

    async def decide(self, questions: list[Question]) -> list[bool]:
        """Whether one node may open a port (TCP) of another, for each of them."""

    async def tell(self, endpoints: list[tuple[str, int]]) -> int:
        """Nodes say where they are now; then everything is read: how many nodes there are."""

    async def bring(self, nodes: list[Node]) -> None:
        """Nodes that are imported, as this store takes many rows best."""

    async def look(self, ids: list[int]) -> int:
        """Nodes by id, one query each: how many there are."""

    async def close(self) -> None:
        """Free the file."""


def node(number: int) -> Node:
    """A node with random keys and metadata of the mean size."""
    keys, address = (os.urandom(32), os.urandom(32)), f"100.64.{number >> 8}.{number & 255}"
    return (number, f"node-{number}", *keys, address, "linux", "", os.urandom(472))


@dataclass(frozen=True, slots=True)
class Acls:
    """A thousand rules as rows, for stores that look them up: see `ACLS`."""

    rules: list[tuple[int, int]]
    sources: list[tuple[int, str]]
    targets: list[tuple[int, str, int, int]]
    memberships: list[tuple[int, str]]


@cache
def network() -> policies.Network:
    """What is decided about: rules over users, groups and tags."""
    return policies.ruled(RULES, NODES, 0.0)


@cache
def acls() -> Acls:
    """The same policy as rows."""
    given = network()
    document = given.document or {}
    rules, sources, targets = [], [], []
    for number, rule in enumerate(document["acls"]):  # type: ignore[arg-type, var-annotated]
        rules.append((number, {"tcp": TCP, "udp": 17}.get(rule.get("proto", ""), ANY)))
        sources += [(number, name) for name in rule["src"]]
        for target in rule["dst"]:
            name, _, ports = target.rpartition(":")
            first, _, last = ports.partition("-")
            targets.append((number, name, *((0, 65535) if ports == "*" else (int(first), int(last or first)))))
    groups: dict[str, list[str]] = document["groups"]  # type: ignore[assignment]
    of_user: dict[str, list[str]] = {}
    for group, members in groups.items():
        for member in members:
            of_user.setdefault(member, [member]).append(group)
    memberships = [
        (each.id, name)
        for each in given.nodes
        for name in (each.tags or of_user.get(f"u{(each.user or 1) - 1}@example.com", ()))
    ]
    return Acls(rules, sources, targets, memberships)


@cache
def questions() -> list[Question]:
    """Pairs of nodes and a port."""
    draw = random.Random(5)
    ports = (22, 80, 443, 5432, 8080)
    return [(draw.randrange(NODES), draw.randrange(NODES), draw.choice(ports)) for _ in range(DECISIONS)]
