"""`ghostwire up`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.dumps import forbid_core_dumps
from ghostwire.cli.options import data_option, json_option
from ghostwire.cli.outcome import Exit, complain

if TYPE_CHECKING:
    from ghostwire.agent.io.start import News, Ready, Request
    from ghostwire.agent.wishes import Wishes

_WISHES = ("hostname", "port", "tun", "userspace", "socks5", "forwards", "exposes", "open_proxy", "operator")


@click.command(
    "up",
    epilog="""\b
Examples:
  ghostwire up --server https://mesh.example.com:8443 --pin sha256:HEX --key KEY
  ghostwire up
  ghostwire up --userspace --socks5 127.0.0.1:1055 --forward 127.0.0.1:8080=web:80
  ghostwire up --detach""",
)
@data_option("agent")
@click.option("--server", metavar="URL", envvar="GHOSTWIRE_SERVER", help="The coordinator to join.")
@click.option("--pin", metavar="sha256:HEX", envvar="GHOSTWIRE_PIN", help="The pin of a self-signed coordinator.")
@click.option("--key", metavar="KEY", envvar="GHOSTWIRE_KEY", help="A pre-auth key; erased from the command line.")
@click.option(
    "--key-file", type=click.File("r"), metavar="F|-", help="Read the pre-auth key from a file or standard input."
)
@click.option("--hostname", metavar="NAME", help="The node's name [default: this machine's].")
@click.option("--port", type=click.IntRange(0, 65535), help="UDP port [default: 51820, or the next free one].")
@click.option("--tun", metavar="NAME", help="Insist on a TUN device of this name [default: ghostwire0 where possible].")
@click.option("--userspace", is_flag=True, help="Run without a device.")
@click.option("--socks5", metavar="ADDR", help="Serve SOCKS5 on ADDRESS:PORT or unix:/PATH.")
@click.option(
    "--forward", "forwards", multiple=True, metavar="LOCAL=PEER:PORT", help="Lead a local port to a peer; repeatable."
)
@click.option(
    "--expose", "exposes", multiple=True, metavar="PORT=LOCALADDR", help="Let peers reach a local port; repeatable."
)
@click.option("--open-proxy", is_flag=True, help="Serve proxies beyond this machine and to every user of it.")
@click.option("--detach", is_flag=True, help="Go behind once the node is up; the log is DIR/agent.log.")
@click.option("--operator", metavar="USER", help="Let this user talk to the agent, too.")
@json_option
def command(data: Path, detach: bool, as_json: bool, **given: Any) -> int:
    """Join the mesh and keep this machine in it.

    The first time, give --server, --pin and --key: `ghostwire key create` prints the line. Later `ghostwire up` alone
    comes back with the options of the last run; a run with options of its own starts from the defaults. With --json
    it prints one line when the node is up (and one before that, with `up` false, where that takes long).
    """
    forbid_core_dumps()
    request = _request(data, given)
    if not detach:
        return _run(request, lambda news: _show(news, as_json), as_json)
    return _run_behind(request, as_json)


def _show(news: News, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(news))
    else:
        click.echo("\n".join(news.lines))


def _request(data: Path, given: dict[str, Any]) -> Request:
    from ghostwire.agent.io.start import Request

    os.environ.pop("GHOSTWIRE_KEY", None)
    key, file = given["key"], given["key_file"]
    if file is not None:
        if key is not None:
            raise click.UsageError("give --key or --key-file, not both.")
        key = file.read().strip()
        if not key:
            raise click.UsageError("--key-file holds no key.")
    pin = None
    if given["pin"] is not None:
        from ghostwire.cli.admin import parse_pin

        pin = parse_pin(given["pin"])
    if given["userspace"] and given["tun"]:
        raise click.UsageError("--userspace and --tun exclude each other.")
    return Request(folder=data, server=given["server"], pin=pin, preauth_key=key, wishes=_wishes(given))


def _wishes(given: dict[str, Any]) -> Wishes | None:
    """What was asked for; None to repeat the last run."""
    from ghostwire.agent.io.tunnel import parse_expose, parse_forward
    from ghostwire.agent.wishes import Wishes
    from ghostwire.errors import ValidationError

    asked = {
        name: given[name]
        for name in _WISHES
        if given[name] is not None and given[name] is not False and given[name] != ()
    }
    try:
        for forward in given["forwards"]:
            parse_forward(forward)
        for expose in given["exposes"]:
            parse_expose(expose)
    except ValidationError as error:
        raise click.UsageError(error.message) from error
    return Wishes(**asked) if asked else None


def _run(request: Request, ready: Ready, as_json: bool) -> int:
    from ghostwire.agent.io import start
    from ghostwire.telemetry import open_telemetry

    telemetry = open_telemetry("ghostwire-agent", style="json" if as_json else "auto")
    try:
        ended = start.main(request, ready)
    finally:
        telemetry.close()
    if not ended.code:
        return Exit.DONE
    complain(ended.message, ended.code, retryable=False, as_json=as_json)
    return Exit.FAILED


def _run_behind(request: Request, as_json: bool) -> int:
    """Go behind; this process says how the start went and ends."""
    from ghostwire.agent.io import behind
    from ghostwire.errors import GhostwireError

    report, tell = behind.fork(request.folder)
    if report is not None:
        if report.news is None:
            complain(report.failure, report.code, retryable=False, as_json=as_json)
            return Exit.FAILED
        _show(report.news, as_json)
        return Exit.DONE
    try:
        code = _run(request, lambda news: tell(behind.Report(news=news)), as_json)
        failure = f"it ended at its start: see {request.folder / behind.LOG}"
        tell(behind.Report(failure=failure, code="internal"))
    except GhostwireError as error:
        tell(behind.Report(failure=error.message, code=error.code))
        raise
    return code
