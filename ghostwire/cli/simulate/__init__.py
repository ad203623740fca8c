"""`ghostwire simulate`: a real server and thousands of real nodes on this machine, and what they cost."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ghostwire.cli import screen
from ghostwire.cli.options import json_option

if TYPE_CHECKING:
    from ghostwire.testing.load.report import Report, Trace

SCENARIOS = ("all", "join", "steady", "churn", "policy", "storm")
FEWEST, MOST = 20, 200_000
ALONE = 18_500
"""One process holds that many sessions: each is a descriptor."""


def _workers(_ctx: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    """A number of workers; None for `auto`."""
    if value == "auto":
        return None
    if not value.isdecimal():
        raise click.BadParameter("expected a number of workers, or auto")
    return int(value)


@click.command(
    "simulate",
    epilog="""\b
Examples:
  ghostwire simulate
  ghostwire simulate --nodes 5000 --report capacity.html
  ghostwire simulate --nodes 50000 --report capacity.html
  ghostwire simulate --nodes 2000 --scenario churn --scenario storm --json""",
)
@click.option("--nodes", type=click.IntRange(FEWEST, MOST), default=1000, show_default=True, help="How many nodes.")
@click.option(
    "--visible", type=click.IntRange(1, 5000), default=200, show_default=True, help="Peers that the policy shows each."
)
@click.option(
    "--workers",
    callback=_workers,
    default="auto",
    metavar="N|auto",
    show_default=True,
    help="Server processes that have the connections; auto: one for each 12,500 nodes, none where one is enough.",
)
@click.option("--tls", is_flag=True, help="Let the server end TLS, as it does outside; the clients take more, too.")
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice(SCENARIOS),
    multiple=True,
    default=("all",),
    help="What follows joining; repeatable [default: all].",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    help="How long steady lasts [default: 12 ms for each node, at least 30 s].",
)
@click.option(
    "--hostile",
    type=click.FloatRange(0, 20),
    default=0.0,
    metavar="PERCENT",
    help="Connections beside the nodes that mean harm for a while.",
)
@click.option(
    "--report", "page", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write an HTML page."
)
@json_option
def command(
    nodes: int,
    visible: int,
    workers: int | None,
    tls: bool,
    scenarios: tuple[str, ...],
    seconds: float | None,
    hostile: float,
    page: Path | None,
    as_json: bool,
) -> int:
    """Rehearse a network of thousands of nodes on this machine.

    A coordinator of its own is started in a temporary folder, on loopback; the nodes are this machine's, too, and speak
    the real protocol without tunnels. They join, change their endpoints, ask, are told of a policy edit, and come back
    after the coordinator was killed. Exits 1 if a node was lost, told wrongly, or ended with a wrong map.
    """
    from ghostwire.cli.admin import Admin
    from ghostwire.cli.simulate import text
    from ghostwire.cli.simulate.progress import Progress
    from ghostwire.testing.load.simulation import SCENARIOS as ALL
    from ghostwire.testing.load.simulation import Plan, simulate
    from ghostwire.testing.load.stage import askers

    chosen = frozenset(ALL if "all" in scenarios else scenarios)
    if workers is not None and nodes > ALONE * max(workers, 1):
        raise click.UsageError(f"{nodes} nodes need more workers: one process holds {ALONE} sessions")
    if page is not None:
        _require_writable(page)
    # A signal ends it as Ctrl-C does: nothing that it made stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(
        nodes=nodes,
        visible=visible,
        workers=workers,
        tls=tls,
        scenarios=chosen,
        seconds=seconds,
        hostile=hostile / 100,
    )
    with Progress(nodes - askers(nodes)) as progress:
        found, trace = simulate(plan, Admin.local, progress.tell)
    if page is not None:
        from ghostwire.cli.simulate.page import render

        page.write_text(render(found, trace), encoding="utf-8")
    import msgspec

    if as_json:
        for name, value in text.run_rows(trace):
            click.echo(f"{name}: {click.unstyle(value)}", err=True)
    screen.show(msgspec.to_builtins(found), as_json, lambda: text.render(found, trace))
    return 0 if holds(found, trace) else 1


def _require_writable(page: Path) -> None:
    """Raise `click.BadParameter` where the page could not be written at the end."""
    try:
        page.touch()
    except OSError as error:
        raise click.BadParameter(f"cannot write {page}: {error.strerror}", param_hint="--report") from error


def holds(found: Report, trace: Trace) -> bool:
    """Whether nothing was lost and everyone ended with the right map."""
    return not (
        found.join.failed
        or found.digest_mismatches
        or trace.faults
        or (found.hostile is not None and found.hostile.sessions_lost)
        or (found.steady is not None and found.steady.sessions_lost)
        or (found.policy is not None and found.policy.nodes_told_wrongly)
        or (found.storm is not None and found.storm.lost)
    )
