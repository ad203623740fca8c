"""The text of systemd units: least privilege that still does the job."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COMMON: Final = """\
NoNewPrivileges=yes
LockPersonality=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={home}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectSystem=strict
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
LimitCORE=0
"""

_SERVE: Final = """\
Environment=XDG_STATE_HOME=/var/lib
StateDirectory=ghostwire/server
StateDirectoryMode=0700
LimitNOFILE=131072
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
AmbientCapabilities=CAP_NET_BIND_SERVICE
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
"""

_UP: Final = """\
Environment=XDG_STATE_HOME=/var/lib
StateDirectory=ghostwire/agent
StateDirectoryMode=0700
CapabilityBoundingSet=CAP_NET_ADMIN
AmbientCapabilities=CAP_NET_ADMIN
DeviceAllow=/dev/net/tun rw
DevicePolicy=closed
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
"""

_USER: Final = """\
NoNewPrivileges=yes
LockPersonality=yes
UMask=0077
LimitCORE=0
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that runs `program VERB ARGUMENTS`.

    `folder` holds its data, None for the default one. `system`: for the machine and not for one user; `user` runs it,
    None is root.
    """

    verb: str
    program: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    folder: Path | None = None
    system: bool = True
    user: str | None = None

    @property
    def name(self) -> str:
        """The unit's file name."""
        return f"ghostwire-{self.verb}.service"

    def text(self) -> str:
        """The unit's file."""
        what = "coordinator" if self.verb == "serve" else "node agent"
        data = () if self.folder is None else ("--data", str(self.folder))
        command = (*self.program, self.verb, *data, *self.arguments)
        lines = [
            "[Unit]",
            f"Description=Ghostwire {what}",
            "After=network-online.target",
            "Wants=network-online.target",
            "",
            "[Service]",
            f"ExecStart={' '.join(quoted(word) for word in command)}",
            "Restart=on-failure",
            "RestartSec=1s",
            *([f"User={self.user}"] if self.user is not None else []),
            *self._sandbox().splitlines(),
            "",
            "[Install]",
            f"WantedBy={'multi-user.target' if self.system else 'default.target'}",
        ]
        return "\n".join(lines) + "\n"

    def _sandbox(self) -> str:
        if not self.system:
            return _USER
        at_home = self.program[0].startswith(("/home/", "/root/"))
        common = _COMMON.format(home="read-only" if at_home else "yes")
        writable = "" if self.folder is None else f"ReadWritePaths={quoted(str(self.folder))}\n"
        return (_SERVE if self.verb == "serve" else _UP) + writable + common


def executable() -> tuple[str, ...]:
    """The words that start this very installation, by absolute paths."""
    script = Path(sys.executable).with_name("ghostwire")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "ghostwire.cli")


def quoted(word: str) -> str:
    """A word of ExecStart=: specifiers and variables are escaped, and blanks quoted (systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(character in word for character in " \t'\"\\;") or not word else escaped
