"""`ghostwire demo`: a mesh of real processes on one machine, with real packets, gone without a trace at the end."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

import click

from ghostwire.cli import screen
from ghostwire.cli.options import json_option

if TYPE_CHECKING:
    from ghostwire.cli.demo.mesh import Mesh
    from ghostwire.cli.demo.trial import Results


@click.command(
    "demo",
    epilog="""\b
Examples:
  ghostwire demo
  ghostwire demo --once
  ghostwire demo --once --json""",
)
@click.option("--once", is_flag=True, help="Show everything once and end; exits 1 if something did not hold.")
@json_option
def command(once: bool, as_json: bool) -> int:
    """Run a coordinator and three nodes on this machine.

    It runs until Ctrl-C; --json implies --once. Alice's laptop, Bob's phone and a tagged server ping each other
    through WireGuard and open a page through the tunnel; the policy refuses what it does not allow. It needs no
    rights, leaves nothing behind, and every packet stays on this machine.
    """
    from ghostwire.cli.demo import trial
    from ghostwire.cli.demo.mesh import Mesh

    started = time.monotonic()
    once = once or as_json
    # A shell starts what it puts behind with SIGINT ignored, and Python would leave it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with Mesh(screen.note) as mesh:
        results = trial.run(mesh, screen.note)
        seconds = time.monotonic() - started
        if once:
            screen.show(results.as_dict(seconds), as_json, lambda: _text(mesh, results))
        else:
            _stay(mesh, results)
    return 0 if results.ok else 1


def _leave(number: int, _frame: FrameType | None) -> None:
    """Leave by the way that ends the processes and removes the folder."""
    sys.exit(128 + number)


def _stay(mesh: Mesh, results: Results) -> None:
    from ghostwire.cli.demo.live import watch

    try:
        watch(mesh, results)
    except KeyboardInterrupt:
        screen.note("stopping; nothing is left behind")


def _text(mesh: Mesh, results: Results) -> str:
    from ghostwire.cli.demo.live import plain

    return plain(mesh, results)
