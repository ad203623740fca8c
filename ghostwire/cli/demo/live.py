"""What the demo shows while it runs: who is there, how they reach each other, what was tried, what to try next."""

from __future__ import annotations

import shlex
import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ghostwire.cli.demo import trial
from ghostwire.cli.demo.mesh import Mesh
from ghostwire.errors import UnavailableError

REFRESH_S = 1.0


def watch(mesh: Mesh, results: trial.Results) -> None:
    """Ping and redraw every second, until KeyboardInterrupt; where nobody looks at a terminal, print it once."""
    console = Console()
    if not console.is_terminal:
        console.print(picture(mesh, results), soft_wrap=True)
        while True:
            time.sleep(REFRESH_S)
    with Live(picture(mesh, results), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_S)
            for source, to in trial.PINGS:
                trial.ping(mesh, source, to, patience_s=0)
            live.update(picture(mesh, results), refresh=True)


def plain(mesh: Mesh, results: trial.Results) -> str:
    """The same picture as text, once."""
    console = Console()
    with console.capture() as capture:
        console.print(picture(mesh, results), soft_wrap=True)
    return capture.get().rstrip()


def picture(mesh: Mesh, results: trial.Results) -> RenderableType:
    """Everything as it is now."""
    statuses = {name: _status(mesh, name) for name in mesh.agents}
    return Group(
        Text(""),
        Text.assemble("Coordinator  ", (mesh.url, "bold")),
        Text(""),
        _nodes(mesh, statuses),
        Text(""),
        _links(statuses),
        Text(""),
        *_tried(results),
        Text(""),
        *_next(mesh),
    )


def _status(mesh: Mesh, name: str) -> dict[str, Any] | None:
    try:
        return mesh.agents[name].status()
    except UnavailableError:
        return None


def _nodes(mesh: Mesh, statuses: dict[str, dict[str, Any] | None]) -> Table:
    table = Table("node", "owner", "ipv4", "ipv6", "coordinator", box=None, pad_edge=False, header_style="bold")
    for name, status in statuses.items():
        owner = mesh.agents[name].plan.owner
        if status is None:
            table.add_row(name, owner, "", "", Text("ended", "red"))
            continue
        own = status["self"]
        there = status["coordinator"]["connected"]
        state = Text("connected", "green") if there else Text("away", "red")
        table.add_row(own["name"], owner, own["ipv4"], own["ipv6"], state)
    return table


def _links(statuses: dict[str, dict[str, Any] | None]) -> Table:
    table = Table(
        "tunnel", "path", "rtt", "handshake", "received", "sent", box=None, pad_edge=False, header_style="bold"
    )
    for name, status in statuses.items():
        for peer in status["peers"] if status is not None else ():
            shaken, rtt = peer["last_handshake_s"], peer["rtt_ms"]
            table.add_row(
                f"{name} -> {peer['name']}",
                Text(peer["path"], "green" if peer["path"] == "direct" else "dim"),
                "-" if rtt is None else f"{rtt:.2f} ms",
                "-" if shaken is None else f"{shaken:.0f} s ago",
                f"{peer['rx_bytes']} B",
                f"{peer['tx_bytes']} B",
            )
    return table


def _tried(results: trial.Results) -> list[Text]:
    lines = [_mark(p.ok, f"{p.source} pings {p.to} through WireGuard: {p.rtt_ms} ms") for p in results.pings]
    lines += [_mark(f.ok, f"{f.source} opens http://{f.to}/: {f.bytes} bytes") for f in results.fetches]
    lines += [_mark(d.ok, f"{d.source} may not open {d.to}:{d.port}: refused") for d in results.denied]
    return lines


def _mark(ok: bool, text: str) -> Text:
    return Text.assemble(("ok    ", "green") if ok else ("FAIL  ", "red bold"), text)


def _next(mesh: Mesh) -> list[Text]:
    data, laptop = shlex.quote(str(mesh.data)), mesh.agents["laptop"]
    state = shlex.quote(str(laptop.folder))
    commands = (
        f"ghostwire node list --data {data}",
        f"ghostwire status --state {state}",
        f"ghostwire ping web --state {state}",
        f"curl --proxy socks5h://localhost{laptop.proxy} http://web/",
        f"ghostwire policy show --data {data}",
    )
    return [
        Text("In another terminal (Ctrl-C here stops and removes everything):"),
        *(Text(f"  {c}") for c in commands),
    ]
