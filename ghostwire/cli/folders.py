"""Where servers and agents keep their data unless told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Role = Literal["server", "agent"]


def default_folder(role: Role) -> Path:
    """`$XDG_STATE_HOME/ghostwire/ROLE`; unset: `/var/lib` for root, `~/.local/state` for others."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification of base directories says that relative paths are to be ignored.
    if base and Path(base).is_absolute():
        return Path(base, "ghostwire", role)
    if os.geteuid() == 0:
        return Path("/var/lib/ghostwire", role)
    return Path.home() / ".local" / "state" / "ghostwire" / role
