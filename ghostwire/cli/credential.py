"""How a pre-auth key or a token is listed."""

from __future__ import annotations

from typing import Any

from ghostwire.cli import screen


def state(credential: dict[str, Any]) -> str:
    """Whether it can be used, and if not why."""
    if credential["usable"]:
        return screen.good("usable")
    return screen.bad("revoked") if credential["revoked"] else screen.dim("over")
