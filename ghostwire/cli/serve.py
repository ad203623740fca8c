"""`ghostwire serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.dumps import forbid_core_dumps
from ghostwire.cli.options import data_option, json_option

if TYPE_CHECKING:
    from ghostwire.server.observer import Observer
    from ghostwire.server.server import Server

FIRST_KEY_S = 3600.0


@click.command(
    "serve",
    epilog="""\b
Examples:
  ghostwire serve
  ghostwire serve --data /srv/ghostwire --url https://mesh.example.com:8443
  ghostwire serve --workers auto
  ghostwire serve --listen 127.0.0.1:8080 --tls off --behind-proxy""",
)
@click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Read this file (YAML or TOML)."
)
@data_option("server")
@click.option("--listen", metavar="ADDR:PORT", help="Where to listen [default: 0.0.0.0:8443].")
@click.option("--url", "urls", metavar="URL", multiple=True, help="How machines reach it; repeatable, first is shown.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="F", help="Certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="F", help="Its private key (PEM).")
@click.option("--tls", type=click.Choice(["on", "off"]), help="off: loopback, or --behind-proxy, only.")
@click.option("--behind-proxy", is_flag=True, help="A proxy in front ends TLS.")
@click.option("--workers", metavar="N|auto", help="Processes that share the port; 0: all in one [default: 0].")
@click.option("--store-key", type=click.Path(path_type=Path), metavar="F", help="The file with the store's key.")
@click.option(
    "--log-level",
    type=click.Choice(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"], case_sensitive=False),
    help="What to log on stderr [default: INFO].",
)
@click.option(
    "--takeover", "taking_over", is_flag=True, help="Take the place of the server that runs there, if one does."
)
@json_option
def command(file: Path | None, data: Path, taking_over: bool, as_json: bool, **given: Any) -> int:
    """Run the coordinator in the foreground until it is interrupted.

    A first start makes the store, its key and a self-signed certificate in the data folder. Flags win over the
    environment, that over the configuration file; `ghostwire config show` says what results.
    """
    from ghostwire.errors import ConflictError
    from ghostwire.server.config.load import find_file, load
    from ghostwire.server.config.options import serve_options
    from ghostwire.server.process import run
    from ghostwire.server.workers import takeover
    from ghostwire.server.workers.processes import supervise
    from ghostwire.telemetry import open_telemetry

    forbid_core_dumps()
    loaded = load(find_file(file, data), os.environ, _flags(given))
    logging = loaded.config.logging
    options = serve_options(loaded.config, data, os.environ)

    @contextmanager
    def observer(part: str = "server") -> Iterator[Observer]:
        telemetry = open_telemetry(
            f"ghostwire-{part}", logging.level, logging.format, loaded.config.telemetry.otlp_endpoint
        )
        try:
            yield telemetry
        finally:
            telemetry.close()

    async def ready(server: Server) -> None:
        await _greet(server, data, as_json)

    estate = takeover.ask(options.data) if taking_over else None
    try:
        if options.workers:
            return supervise(options, observer, ready, estate)
        with observer() as heard:
            return run(options, heard, ready, estate)
    except ConflictError as error:
        raise ConflictError(f"{error.message}. `ghostwire serve --takeover` takes the place of a server") from error


FLAGS = {
    "listen": ("--listen", "server.listen_addr"),
    "urls": ("--url", "server.public_urls"),
    "tls_cert": ("--tls-cert", "server.tls_cert"),
    "tls_key": ("--tls-key", "server.tls_key"),
    "tls": ("--tls", "server.tls"),
    "behind_proxy": ("--behind-proxy", "server.behind_proxy"),
    "workers": ("--workers", "server.workers"),
    "store_key": ("--store-key", "database.key_file"),
    "log_level": ("--log-level", "logging.level"),
}
"""Which key each flag sets."""


def _flags(given: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """The flags that were given, as the configuration takes them."""
    found = {}
    for name, (flag, path) in FLAGS.items():
        value = _workers(given[name]) if name == "workers" else given[name]
        if value is None or value is False or value == ():
            continue
        if isinstance(value, Path):
            value = str(value.absolute())
        found[path] = (flag, list(value) if isinstance(value, tuple) else value)
    return found


def _workers(given: str | None) -> int | None:
    """How many workers are asked for: `auto` is one a processor and at least four, so that one may die."""
    if given is None or given.isdecimal():
        return None if given is None else int(given)
    if given != "auto":
        raise click.BadParameter(f"{given!r} is neither a number nor auto", param_hint="--workers")
    return max(4, os.cpu_count() or 1)


async def _greet(server: Server, data: Path, as_json: bool) -> None:
    """Say what to do next, on stdout; a key is made only for a person who looks at it."""
    if as_json:
        screen.show(
            {"url": server.url, "pin": server.pin, "data": str(data), "socket": str(data / "admin.sock")}, True, str
        )
        return
    url = server.reporter.url
    lines = [f"The coordinator listens on {server.naming.listen}; machines reach it as {screen.bold(url.url)}"]
    if url.warning:
        lines.append(screen.bad(url.warning))
    key = f"ghostwire key create --user {_person()}{_data_option(data)}"
    if sys.stdout.isatty() and not server.driver.coordinator.view.nodes():
        lines += ["", "Join the first machine with this line (once, within 1 h):", ""]
        lines += [f"  {await _first_join(server)}", "", f"For more machines: {key}"]
    else:
        lines.append(f"This prints the line that joins a machine: {key}")
    click.echo("\n".join(lines))


async def _first_join(server: Server) -> str:
    from ghostwire.coordinator.commands import CreatePreauthKey

    made = await server.driver.ask(
        lambda op: CreatePreauthKey(
            op=op, actor=f"admin:unix:{os.geteuid()}", user=_person(), life_s=FIRST_KEY_S, granted="admin"
        )
    )
    return server.reporter.join_command(made.secret)


def _person() -> str:
    """Who sits at the terminal: the first user's name. Root stands for nobody in particular."""
    import pwd

    from ghostwire.coordinator.names import check_user_name
    from ghostwire.errors import ValidationError

    try:
        name = check_user_name(os.environ.get("SUDO_USER") or pwd.getpwuid(os.geteuid()).pw_name)
    except (KeyError, ValidationError):
        # A uid without a name (containers have them), or a name that no user of a mesh may have.
        return "admin"
    return "admin" if name == "root" else name


def _data_option(data: Path) -> str:
    import shlex

    from ghostwire.cli.folders import default_folder

    return "" if data == default_folder("server") else f" --data {shlex.quote(str(data))}"
