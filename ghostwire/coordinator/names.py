"""Names and other strings from outside: cleaned where they are reported, refused where they are asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from ipaddress import ip_network
from typing import Final

import msgspec

from ghostwire.errors import ValidationError
from ghostwire.model.node import NodeFacts

REFUSED: Final = frozenset({"localhost", "wpad", "isatap", "broadcasthost", "ip6-localhost", "ip6-loopback"})
"""Names that change what other software on a host does when they resolve."""
MAX_LABEL: Final = 63
MAX_TEXT: Final = 255
MAX_METADATA: Final = 4096
MAX_ROUTES: Final = 64
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CLEAN: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_USER: Final = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,126}[a-z0-9])?")
_TAG: Final = re.compile(r"tag:[a-z][a-z0-9-]{0,62}")
_SEARCHED: Final = 32


def is_refused(name: str, reserved: tuple[str, ...]) -> bool:
    """Whether no node may have this name."""
    return name in REFUSED or name.startswith("_") or name in reserved


def clean_hostname(reported: str, reserved: tuple[str, ...]) -> str:
    """A DNS-safe label from what a machine calls itself: its first label, as far as it can be kept; else `node`."""
    if len(reported) <= MAX_LABEL and _CLEAN.fullmatch(reported):
        return "node" if is_refused(reported, reserved) else reported
    plain = unicodedata.normalize("NFKD", reported[:MAX_TEXT]).encode("ascii", "ignore").decode().lower()
    label = re.sub(r"[^a-z0-9]+", "-", plain.split(".", 1)[0])[:MAX_LABEL].strip("-")
    return "node" if not label or is_refused(label, reserved) else label


def check_name(requested: str, reserved: tuple[str, ...]) -> str:
    """The name as it was asked for, lower case. Raises `ValidationError` when it is no DNS label or is refused."""
    name = requested.lower()
    if not _LABEL.fullmatch(name):
        raise ValidationError(
            f"{printable(requested)!r} is not a node name: "
            "use letters, digits and hyphens, at most 63, with no hyphen at either end"
        )
    if is_refused(name, reserved):
        raise ValidationError(f"{name!r} is a name that no node may have")
    return name


class NameSeries:
    """Finds free names of the form `base`, `base-2`, `base-3`; quick also where thousands share a base."""

    def __init__(self, is_taken: Callable[[str], bool]) -> None:
        self._is_taken = is_taken
        self._next: dict[str, int] = {}

    def free(self, base: str) -> str:
        """`base`, or the same with a number. Low numbers that have become free again are found first."""
        if not self._is_taken(base):
            return base
        for number in range(2, _SEARCHED):
            if not self._is_taken(_numbered(base, number)):
                return _numbered(base, number)
        number = self._next.get(base, _SEARCHED)
        while self._is_taken(_numbered(base, number)):
            number += 1
        self._next[base] = number + 1
        return _numbered(base, number)


def _numbered(base: str, number: int) -> str:
    suffix = f"-{number}"
    return base[: MAX_LABEL - len(suffix)].rstrip("-") + suffix


def belongs_to(name: str, base: str) -> bool:
    """Whether `NameSeries` could have made `name` of `base`."""
    number = name.rpartition("-")[2]
    return name == base or (number.isdigit() and name == _numbered(base, int(number)))


def check_user_name(name: str) -> str:
    """A login name, lower case. Raises `ValidationError`."""
    lower = name.lower()
    if not _USER.fullmatch(lower):
        raise ValidationError(
            f"{printable(name)!r} is not a user name: use letters, digits and . _ @ + - inside, at most 128"
        )
    return lower


def check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Tags, sorted, each once. Raises `ValidationError`."""
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise ValidationError(
                f"{printable(tag)!r} is not a tag: write tag: and a name of letters, digits and hyphens"
            )
    if len(tags) > 32:
        raise ValidationError("a node has at most 32 tags")
    return tuple(sorted(set(tags)))


def check_routes(routes: tuple[str, ...]) -> tuple[str, ...]:
    """Prefixes in their one way of writing, sorted, each once. Raises `ValidationError`."""
    if not routes:
        return ()
    if len(routes) > MAX_ROUTES:
        raise ValidationError(f"a node serves at most {MAX_ROUTES} routes")
    try:
        networks = {ip_network(route) for route in routes}
    except ValueError as error:
        raise ValidationError(f"not a route: {error}") from error
    return tuple(
        str(network) for network in sorted(networks, key=lambda n: (n.version, n.network_address, n.prefixlen))
    )


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """The text without control, formatting and unpaired characters, at most `limit` long."""
    if not text:
        return text
    if text.isascii() and text.isprintable():
        return text[:limit].strip()
    kept = (c for c in text[: 4 * limit] if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
    return "".join(kept)[:limit].strip()


def clean_facts(facts: NodeFacts) -> NodeFacts:
    """What a machine says of itself, capped and stripped. Raises `ValidationError` for what can't be taken in part."""
    if len(facts.metadata) > MAX_METADATA:
        raise ValidationError(f"metadata has at most {MAX_METADATA} bytes, not {len(facts.metadata)}")
    return msgspec.structs.replace(
        facts,
        hostname=printable(facts.hostname),
        region=printable(facts.region, 64),
        country=printable(facts.country, 64),
        os=printable(facts.os, 64),
        agent_version=printable(facts.agent_version, 64),
        routable_routes=check_routes(facts.routable_routes),
    )
