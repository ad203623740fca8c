"""How a command line ends: the one place that turns errors into a sentence and an exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from enum import IntEnum

import click

from ghostwire.errors import (
    AuthenticationError,
    GhostwireError,
    PermissionDeniedError,
    UnavailableError,
)


class Exit(IntEnum):
    """Exit codes that scripts may rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_PERMITTED = 4


def exit_code(error: GhostwireError) -> Exit:
    """Tell the exit code of an error of the tree."""
    if isinstance(error, UnavailableError):
        return Exit.UNREACHABLE
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return Exit.NOT_PERMITTED
    return Exit.FAILED


def carry_out(command: click.Command, arguments: Sequence[str]) -> int:
    """Run `command` and return the exit code, after saying on stderr what went wrong.

    Errors outside the tree are faults of the program and come through with their traceback. An interrupt ends
    quietly with 130, as shells expect.
    """
    name = "ghostwire"
    if "_GHOSTWIRE_COMPLETE" in os.environ:
        command.main(list(arguments), prog_name=name)
    # Usage errors happen before options are parsed, so the words themselves are asked.
    as_json = "--json" in arguments
    try:
        result = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except click.UsageError as error:
        complain(_usage(error), "usage", False, as_json)
        return Exit.USAGE
    except click.ClickException as error:
        complain(error.format_message(), "failed", False, as_json)
        return Exit.FAILED
    except GhostwireError as error:
        complain(error.message, error.code, error.retryable, as_json)
        return exit_code(error)
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has seen enough (`ghostwire node list | head`); keep the interpreter's last flush from failing too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return int(result) if isinstance(result, int) else Exit.DONE


def complain(message: str, code: str, retryable: bool, as_json: bool) -> None:
    """Write one error to stderr: a sentence, or with `as_json` one line of JSON."""
    if as_json:
        print(json.dumps({"code": code, "message": message, "retryable": retryable}), file=sys.stderr, flush=True)
    else:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True, color=_colour())


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None


def _usage(error: click.UsageError) -> str:
    if error.ctx is None:
        return error.format_message()
    return f"{error.format_message()}\n`{error.ctx.command_path} --help` explains it."
