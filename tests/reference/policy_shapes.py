"""The slow twins of what a node is sent beside its filter: SSH logins and its own capabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ghostwire.policy import NodeFacts, UserFacts
from tests.reference.policy import Twin

ALWAYS = {
    "default-auto-update": [False],
    "https://tailscale.com/cap/file-sharing": None,
    "https://tailscale.com/cap/ssh": None,
}


class Login(NamedTuple):
    """Who may log in as whom: addresses, logins asked for with the local ones, whether they are asked again."""

    principals: list[str]
    users: dict[str, str]
    check: bool
    accept_env: list[str]


def in_order(twin: Twin) -> list[NodeFacts]:
    return [twin.nodes[number] for number in sorted(twin.nodes)]


def owner(node: NodeFacts) -> int | None:
    return None if node.tags else node.user


def logins(twin: Twin, node: NodeFacts) -> list[Login]:
    """SSH rules of one node: those that ask again first."""
    found = []
    for action in ("check", "accept"):
        for rule in twin.policy.get("ssh", ()):
            if rule["action"] != action:
                continue
            for principals, users in by_user(twin, rule, node) if localparts(rule) else plain(twin, rule, node):
                if principals:
                    found.append(Login(principals, users, action == "check", rule.get("acceptEnv", [])))
    return found


def localparts(rule: dict[str, Any]) -> list[str]:
    return [name.removeprefix("localpart:*@") for name in rule["users"] if name.startswith("localpart:*@")]


def local_users(rule: dict[str, Any]) -> dict[str, str]:
    names = [name for name in rule["users"] if not name.startswith("localpart:")]
    return {"root": ""} | dict(("*", "=") if name == "autogroup:nonroot" else (name, name) for name in names)


def is_for_all(twin: Twin, rule: dict[str, Any], node: NodeFacts) -> bool:
    return any(name != "autogroup:self" and twin.is_identity(name, node) for name in rule["dst"])


def plain(twin: Twin, rule: dict[str, Any], node: NodeFacts) -> Iterator[tuple[list[str], dict[str, str]]]:
    for_all = is_for_all(twin, rule, node)
    if not for_all and not ("autogroup:self" in rule["dst"] and owner(node) is not None):
        return
    principals: list[str] = []
    for name in rule["src"]:
        for source in in_order(twin):
            if twin.is_identity(name, source) and (for_all or owner(source) == owner(node)):
                principals += list(source.addresses) * (len(source.tags) if name == "autogroup:tagged" else 1)
    yield principals, local_users(rule)


def by_user(twin: Twin, rule: dict[str, Any], node: NodeFacts) -> Iterator[tuple[list[str], dict[str, str]]]:
    for_all = is_for_all(twin, rule, node)
    for user in sorted(twin.users.values(), key=lambda user: user.id):
        named = any(is_of_users(name) and twin.is_user(name, user) for name in rule["src"])
        if not named or not (for_all or owner(node) == user.id):
            continue
        principals = [one for source in in_order(twin) if owner(source) == user.id for one in source.addresses]
        yield principals, local_users(rule)
        local, domain = mailbox(user)
        if local and domain in localparts(rule):
            yield principals, {local: local}
    if for_all:
        tags = [name for name in rule["src"] if not is_of_users(name)]
        bearers = [source for name in tags for source in in_order(twin) if twin.is_identity(name, source)]
        yield [one for source in bearers for one in source.addresses], local_users(rule)


def is_of_users(name: str) -> bool:
    return not name.startswith("tag:") and name != "autogroup:tagged"


def mailbox(user: UserFacts) -> tuple[str, str]:
    local, _, domain = (user.email if "@" in user.email else user.name).rpartition("@")
    return local, domain


def capabilities(twin: Twin, node: NodeFacts) -> dict[str, Any]:
    """A node's own capabilities. Of the same name, an attribute counts once, and the last application."""
    found: dict[str, Any] = dict(ALWAYS)
    if twin.policy.get("randomizeClientPort"):
        found["randomize-client-port"] = None
    for entry in twin.policy.get("nodeAttrs", ()):
        if any(twin.matches(target, node) for target in entry["target"]):
            for name in entry.get("attr", ()):
                found.setdefault(name, None)
            found |= entry.get("app", {})
    return found
