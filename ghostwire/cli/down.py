"""`ghostwire down`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ghostwire.cli import screen
from ghostwire.cli.options import data_option, json_option

PATIENCE_S = 10.0


@click.command("down", epilog="\b\nExamples:\n  ghostwire down")
@data_option("agent")
@json_option
def command(data: Path, as_json: bool) -> None:
    """Stop the agent of this machine. Its state stays: `ghostwire up` comes back.

    Where none runs there is nothing to do, and that is no error.
    """
    from ghostwire.agent.io.asking import ask, is_running

    was_running = is_running(data)
    if was_running:
        ask(data, "down")
        wait_until_gone(data)
    text = "The agent has stopped; `ghostwire up` starts it again." if was_running else f"No agent runs in {data}."
    screen.show({"stopped": was_running}, as_json, lambda: text)


def wait_until_gone(data: Path) -> None:
    """Wait until the agent's process has let go of its folder. Raises UnavailableError when it does not."""
    import fcntl

    from ghostwire.errors import UnavailableError

    deadline = time.monotonic() + PATIENCE_S
    with (data / "agent.lock").open("rb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"the agent in {data} has not stopped within {PATIENCE_S:.0f} s") from None
                time.sleep(0.05)
            else:
                return
