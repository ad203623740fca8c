"""What must not reach a log: secrets at any level, addresses above debug.

Callers never hand secrets over; this is the second fence. It goes by the names of fields and by the shape of values.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from structlog.typing import EventDict

from ghostwire.telemetry.levels import NUMBERS

REDACTED: Final = "[redacted]"
SECRET_NAMES: Final = frozenset(
    ("secret", "token", "password", "passphrase", "authorization", "cookie", "credential", "proof", "private")
)
SECRET_KEYS: Final = frozenset(("key", "preauth_key", "store_key", "mac_key", "session_key"))
OWN_ADDRESSES: Final = frozenset(("listen", "url"))
"""Fields that name where this process itself listens: they are shown at every level."""

# 256 bits in URL-safe base64 have 43 characters; hexadecimal public keys and fingerprints are no secrets.
_SECRET_SHAPE: Final = re.compile(r"(?<![A-Za-z0-9_-])(?![0-9a-fA-F]+(?![A-Za-z0-9_-]))[A-Za-z0-9_-]{40,}=?")
_IPV4: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])(?:[:/]\d+)?")
_IPV6: Final = re.compile(r"\[?(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])(?:\]:\d+)?(?:/\d+)?")


def redact_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace values that are secrets by their field's name or by their shape (structlog processor)."""
    for name, value in event.items():
        if _is_secret(name):
            event[name] = REDACTED
        elif isinstance(value, bytes):
            event[name] = f"{value[:4].hex()}…"
        elif isinstance(value, str):
            event[name] = _SECRET_SHAPE.sub(REDACTED, value)
    return event


def hide_addresses(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Take network addresses out of events above debug (structlog processor)."""
    if NUMBERS[event["level"]] <= NUMBERS["debug"]:
        return event
    for name, value in event.items():
        if name in OWN_ADDRESSES or name in ("level", "time"):
            continue
        if isinstance(value, str):
            event[name] = _without_addresses(value)
        elif isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
            event[name] = "[address]"
    return event


def plain_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Reduce values to what every renderer writes the same: text, numbers, booleans, None (structlog processor)."""
    return {name: _plain(value) for name, value in event.items()}


def _is_secret(name: str) -> bool:
    if name.endswith(("_id", "_count", "_total", "_bytes", "_expires_at")):
        return False
    return name in SECRET_KEYS or not SECRET_NAMES.isdisjoint(name.lower().split("_"))


def _without_addresses(text: str) -> str:
    return _IPV6.sub(_if_address, _IPV4.sub("[address]", text))


def _if_address(match: re.Match[str]) -> str:
    bare = match[0].lstrip("[").partition("]")[0].partition("/")[0]
    try:
        ipaddress.IPv6Address(bare)
    except ValueError:
        return match[0]
    return "[address]"


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return repr(value)
