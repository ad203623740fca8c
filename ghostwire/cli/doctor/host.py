"""What this machine allows: tunnels, descriptors, a trustworthy clock."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from pathlib import Path

from ghostwire.cli.doctor.finding import Finding

TUN = Path("/dev/net/tun")
CAP_NET_ADMIN = 12
DESCRIPTORS = 20_000
RELEASED = 1_767_225_600
"""2026-01-01 in UTC: a clock before it is wrong."""


def findings(state: Path) -> list[Finding]:
    """Look at the machine, and at the agent's folder."""
    return [tun(), clock(), descriptors(), agent(state)]


def tun() -> Finding:
    """Whether an agent could make a TUN device here."""
    capable = has_capability(CAP_NET_ADMIN)
    if not TUN.exists():
        reason, advice = f"{TUN} is missing", "load the module `tun`, or give the container that device"
    elif not capable:
        reason, advice = (
            "this user lacks CAP_NET_ADMIN",
            "run `ghostwire up` as root, or by `ghostwire service install up`",
        )
    else:
        try:
            os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            reason, advice = f"{TUN} cannot be opened: {error.strerror}", "allow that device to the container"
        else:
            return Finding("tun", "ok", "agents can make a TUN device: every program uses the mesh")
    text = f"{reason}, so agents run rootless: `ghostwire ping`, --socks5, --forward and --expose work, `ping` does not"
    return Finding("tun", "note", text, advice)


def has_capability(number: int) -> bool:
    """Whether this process has an effective capability."""
    status = Path("/proc/self/status")
    if not status.exists():
        return os.geteuid() == 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> number & 1)


def clock() -> Finding:
    """Whether the clock can be right: keys, tokens and windows end by it."""
    now = time.time()
    if now < RELEASED:
        return Finding("clock", "fail", f"the clock says {time.ctime(now)}", "set it: keys and tokens end by it")
    # adjtimex(2): asked with an empty struct timex it changes nothing and returns TIME_ERROR (5) while unsynchronised.
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    if state == 5:
        return Finding("clock", "note", "nothing synchronises this clock", "run chrony or systemd-timesyncd on servers")
    if state < 0:
        return Finding("clock", "note", "the kernel does not tell whether the clock is synchronised")
    return Finding("clock", "ok", "synchronised")


def descriptors() -> Finding:
    """How many connections one process may hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        advice = f"raise it (LimitNOFILE=, ulimit -Hn) to serve more than {max(hard - 1000, 0)} nodes"
        return Finding("descriptors", "note", f"a process may open {text} files", advice)
    return Finding("descriptors", "ok", f"a process may open {text} files")


def agent(state: Path) -> Finding:
    """Whether an agent lives here, and whether its folder is closed to others."""
    if not state.is_dir():
        return Finding("agent", "note", f"no agent has run in {state}")
    mode = state.stat().st_mode & 0o777
    if mode & 0o066:
        return Finding("agent", "fail", f"{state} is open to others (mode {mode:o})", f"run `chmod 700 {state}`")
    running = (state / "agent.sock").exists()
    return Finding("agent", "ok", f"{'runs' if running else 'has run'} in {state}")
