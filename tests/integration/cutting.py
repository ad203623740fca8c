"""Cuts connections of another process, as a failing network would, where this one may reach into it."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

_GETFD: Final = 438
"""pidfd_getfd(2), which Python does not name."""
_TRACE: Final = 1 << 19
"""CAP_SYS_PTRACE: what it takes, since the server lets nobody look into its processes."""


def may_cut() -> bool:
    """Whether this process may reach into another one's descriptors."""
    lines = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return bool(int(lines["CapEff"], 16) & _TRACE)


def cut(pid: int, path: Path) -> None:
    """Shut every connection that a process has accepted at a Unix socket, for both ends."""
    for connection in _accepted(pid, path):
        with connection:
            connection.shutdown(socket.SHUT_RDWR)


def _accepted(pid: int, path: Path) -> Iterator[socket.socket]:
    handle = os.pidfd_open(pid)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for found in psutil.Process(pid).net_connections("unix"):
            if found.laddr != str(path):
                continue
            number = libc.syscall(_GETFD, handle, found.fd, 0)
            if number < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            shared = socket.socket(fileno=number)
            if shared.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                shared.close()
            else:
                yield shared
    finally:
        os.close(handle)
