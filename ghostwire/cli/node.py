"""`ghostwire node`."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from ghostwire.cli import screen
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import admin_options, yes_option
from ghostwire.cli.sparkline import sparkline

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin

POINTS: Final = 60
GAUGES: Final = (
    ("load", "load_factor"),
    ("latency (ms)", "latency_ms"),
    ("bandwidth (Mbit/s)", "bandwidth_mbps"),
)
TRAFFIC: Final = (("in (kB/s)", "bytes_in"), ("out (kB/s)", "bytes_out"))


@click.group("node")
def command() -> None:
    """List, show and change nodes. NODE is a name or an id."""


@command.command(
    "list", epilog="\b\nExamples:\n  ghostwire node list\n  ghostwire node list --user alice --online --json"
)
@click.option("--user", metavar="U", help="Only this user's.")
@click.option("--online/--offline", "online", default=None, help="Only those that are, or are not, online.")
@admin_options
def list_(admin: Admin, user: str | None, online: bool | None, as_json: bool) -> None:
    """List nodes."""
    nodes: list[dict[str, Any]] = []
    wanted = None if online is None else str(online).lower()
    after: int | None = 0
    while after is not None:
        page = admin.get("/v1/nodes", user=user, online=wanted, after=after)
        nodes += page["nodes"]
        after = page["next"]
    rows = [
        (n["id"], n["name"], n["ipv4"], n["ipv6"], _owner(n), _presence(n), screen.moment(n["last_seen"]))
        for n in nodes
    ]
    empty = "No node yet: `ghostwire key create --user U` prints the line that joins one."
    titles = ("id", "name", "ipv4", "ipv6", "owner", "state", "seen")
    screen.show(nodes, as_json, lambda: screen.columns(titles, rows, empty))


@command.command("show", epilog="\b\nExamples:\n  ghostwire node show laptop\n  ghostwire node show 7 --json")
@click.argument("node")
@admin_options
def show(admin: Admin, node: str, as_json: bool) -> None:
    """Show one node."""
    _print(admin.get(_path(node)), as_json)


@command.command(
    "metrics", epilog="\b\nExamples:\n  ghostwire node metrics laptop\n  ghostwire node metrics 7 --last 30d --json"
)
@click.argument("node")
@click.option("--last", type=DURATION, default="1h", show_default=True, metavar="TIME", help="How far back.")
@click.option("--step", type=DURATION, metavar="TIME", help="What a point sums up [default: 60 points].")
@admin_options
def metrics(admin: Admin, node: str, last: float, step: float | None, as_json: bool) -> None:
    """Show how a node was: load, latency, traffic."""
    since = datetime.now(UTC) - timedelta(seconds=last)
    seconds = max(int(step if step is not None else last / POINTS), 1)
    query: dict[str, str | int | None] = {"from": since.isoformat(), "step": seconds}
    found = admin.get(f"{_path(node)}/metrics", **query)
    screen.show(found, as_json, lambda: plots(node, found))


@command.command("rename", epilog="\b\nExample:\n  ghostwire node rename laptop work-laptop")
@click.argument("node")
@click.argument("name")
@admin_options
def rename(admin: Admin, node: str, name: str, as_json: bool) -> None:
    """Give a node another name."""
    changed = admin.patch(_path(node), {"name": name})
    screen.show(changed, as_json, lambda: f"{node} is {changed['name']} now.")


@command.command("expire", epilog="\b\nExample:\n  ghostwire node expire laptop")
@click.argument("node")
@admin_options
def expire(admin: Admin, node: str, as_json: bool) -> None:
    """End a node's key: it must join again with a pre-auth key."""
    changed = admin.post(f"{_path(node)}/expire")
    screen.show(changed, as_json, lambda: f"{changed['name']} is out until it joins again with a pre-auth key.")


@command.command("delete", epilog="\b\nExamples:\n  ghostwire node delete laptop\n  ghostwire node delete 7 --yes")
@click.argument("node")
@yes_option
@admin_options
def delete(admin: Admin, node: str, yes: bool, as_json: bool) -> None:
    """Remove a node. Its peers cut it at once, and its key is refused for ever."""
    found = admin.get(_path(node))
    screen.confirm(f"Remove {found['name']} ({found['ipv4']}) for good?", yes, as_json)
    admin.delete(_path(str(found["id"])))
    screen.show(
        {"id": found["id"], "name": found["name"], "deleted": True}, as_json, lambda: f"{found['name']} is gone."
    )


@command.command(
    "tag", epilog="\b\nExamples:\n  ghostwire node tag web tag:server\n  ghostwire node tag web tag:a tag:b"
)
@click.argument("node")
@click.argument("tags", nargs=-1, required=True)
@admin_options
def tag(admin: Admin, node: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Replace a node's owner, or its tags, by TAGS."""
    changed = admin.patch(_path(node), {"tags": list(tags)})
    screen.show(changed, as_json, lambda: f"{changed['name']} is {', '.join(changed['tags'])}.")


@command.command(
    "approve-routes",
    epilog="\b\nExamples:\n  ghostwire node approve-routes gate 192.168.1.0/24\n  ghostwire node approve-routes gate",
)
@click.argument("node")
@click.argument("routes", nargs=-1)
@admin_options
def approve_routes(admin: Admin, node: str, routes: tuple[str, ...], as_json: bool) -> None:
    """Set which of its routable prefixes a node may serve. None withdraws all."""
    changed = admin.patch(_path(node), {"approved_routes": list(routes)})
    approved = changed["approved_routes"]
    screen.show(changed, as_json, lambda: f"{changed['name']} may serve {', '.join(approved) or 'no routes'}.")


@command.command("rotate", epilog="\b\nExample:\n  ghostwire node rotate laptop")
@click.argument("node")
@admin_options
def rotate(admin: Admin, node: str, as_json: bool) -> None:
    """Have a node replace its key. It does as soon as it is connected."""
    admin.post(f"{_path(node)}/rotate")
    screen.show({"node": node, "ordered": True}, as_json, lambda: f"{node} rotates its key as soon as it is connected.")


@command.command(
    "maintenance", epilog="\b\nExamples:\n  ghostwire node maintenance web\n  ghostwire node maintenance web --end"
)
@click.argument("node")
@click.option("--end", is_flag=True, help="Back to active.")
@admin_options
def maintenance(admin: Admin, node: str, end: bool, as_json: bool) -> None:
    """Put a node into maintenance, or out of it."""
    changed = admin.patch(_path(node), {"maintenance": not end})
    screen.show(changed, as_json, lambda: f"{changed['name']} is {_status(changed)}.")


def plots(node: str, found: dict[str, Any]) -> str:
    """A line for each metric: its course, then the least, the mean and the most."""
    if not found["points"]:
        return f"{node} told nothing in this time."
    start, end = (datetime.fromisoformat(found[name]).timestamp() for name in ("since", "until"))
    step = found["step"]
    steps: list[dict[str, Any] | None] = [None] * math.ceil((end - start) / step)
    for point in found["points"]:
        steps[round((datetime.fromisoformat(point["at"]).timestamp() - start) / step)] = point
    courses = [(title, [None if point is None else float(point[name]) for point in steps]) for title, name in GAUGES]
    courses += [(title, _rates(steps, name, step)) for title, name in TRAFFIC]
    titles = ("metric", f"the last {screen.span(end - start)}", "least", "mean", "most")
    return screen.columns(titles, [_course(title, values) for title, values in courses], "")


def _course(title: str, values: list[float | None]) -> tuple[str, ...]:
    known = [value for value in values if value is not None] or [0.0]
    shown = (min(known), sum(known) / len(known), max(known))
    return title, sparkline(values), *(f"{value:.4g}" for value in shown)


def _rates(steps: list[dict[str, Any] | None], name: str, step: float) -> list[float | None]:
    """How fast a total grew, in kB/s. One that went down began anew."""
    rates: list[float | None] = []
    before = None
    for point in steps:
        rate = None
        if point is not None:
            if before is not None:
                grown = point[name] - before[1] if point[name] >= before[1] else point[name]
                rate = grown / (len(rates) - before[0]) / step / 1000
            before = len(rates), point[name]
        rates.append(rate)
    return rates


def _path(node: str) -> str:
    return f"/v1/nodes/{quote(node, safe='')}"


def _status(node: dict[str, Any]) -> str:
    return "in maintenance" if node["status"] == "maintenance" else str(node["status"])


def _owner(node: dict[str, Any]) -> str:
    return node["user"] or ", ".join(node["tags"]) or "-"


def _presence(node: dict[str, Any]) -> str:
    if node["expired"]:
        return screen.bad("expired")
    if node["status"] == "maintenance":
        return screen.bold("maintenance")
    return screen.good("online") if node["online"] else screen.dim("offline")


def _print(node: dict[str, Any], as_json: bool) -> None:
    pairs = [
        ("name", f"{node['name']} (id {node['id']})"),
        ("addresses", f"{node['ipv4']}  {node['ipv6']}"),
        ("owner", _owner(node)),
        ("state", f"{_presence(node)}, seen {screen.moment(node['last_seen'])}"),
        ("node key", node["node_key"] + (", a new one is asked for" if node["rotation_ordered"] else "")),
        ("key expires", screen.moment(node["key_expiry"])),
        ("endpoints", ", ".join(node["endpoints"]) or "-"),
        ("type", node["node_type"] + (", ephemeral" if node["ephemeral"] else "")),
        ("system", " ".join(filter(None, (node["os"], node["agent_version"], node["region"], node["country"]))) or "-"),
        ("routes", ", ".join(node["approved_routes"]) or "-"),
        ("asks to serve", ", ".join(sorted(set(node["routable_routes"]) - set(node["approved_routes"]))) or "-"),
        ("joined", screen.moment(node["created_at"])),
    ]
    screen.show(node, as_json, lambda: screen.fields(pairs))
