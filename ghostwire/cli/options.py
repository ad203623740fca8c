"""The options that verbs share, as decorators."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ghostwire.cli.folders import Role, default_folder

Function = Callable[..., Any]


def data_option(role: Role) -> Callable[[Function], Function]:
    """`--data DIR` (or `--state DIR`): hands the verb `data`, an absolute path, by default that of the role."""

    def resolve(_ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
        return (value if value is not None else default_folder(role)).absolute()

    return click.option(
        "--data",
        "--state",
        "data",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="GHOSTWIRE_DATA",
        callback=resolve,
        metavar="DIR",
        help=f"The {role}'s folder [default: {_shown(role)}].",
    )


def _shown(role: Role) -> str:
    return f"$XDG_STATE_HOME/ghostwire/{role}; root: /var/lib/ghostwire/{role}"


def json_option(function: Function) -> Function:
    """`--json`: hands the verb `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON value on stdout.")(function)


def yes_option(function: Function) -> Function:
    """`--yes`: hands the verb `yes`."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


def admin_options(function: Function) -> Function:
    """Options of verbs that ask a coordinator: hands the verb `admin` (an open `Admin`) and `as_json`.

    By default they talk to `DIR/admin.sock`; with `--server URL` and a token, to a remote coordinator.
    """

    @functools.wraps(function)
    def with_admin(
        *args: Any,
        data: Path,
        server: str | None,
        token: str | None,
        token_file: Path | None,
        pin: str | None,
        **kwargs: Any,
    ) -> Any:
        from ghostwire.cli.admin import Admin

        if server is None and pin is not None:
            raise click.UsageError("--pin needs --server URL.")
        if server is None:
            with Admin.local(data) as admin:
                return function(*args, admin=admin, **kwargs)
        if token is None and token_file is not None:
            token = token_file.read_text().strip()
        if not token:
            raise click.UsageError("--server needs a token: --token T, --token-file F or GHOSTWIRE_TOKEN.")
        with Admin.remote(server, token, pin) as admin:
            return function(*args, admin=admin, **kwargs)

    decorators: tuple[Callable[[Function], Function], ...] = (
        data_option("server"),
        click.option("--server", metavar="URL", envvar="GHOSTWIRE_SERVER", help="A remote coordinator."),
        click.option("--token", metavar="T", envvar="GHOSTWIRE_TOKEN", help="An API token for --server."),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=False),
            metavar="F",
            help="A file that holds the token.",
        ),
        click.option("--pin", metavar="sha256:HEX", envvar="GHOSTWIRE_PIN", help="The pin of a self-signed --server."),
        json_option,
    )
    wrapped: Function = with_admin
    for decorate in reversed(decorators):
        wrapped = decorate(wrapped)
    return wrapped
