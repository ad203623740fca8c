"""The command `ghostwire`: a group whose verbs are imported when they are called."""

from __future__ import annotations

import importlib
import os

import click

from ghostwire import __version__
from ghostwire.cli.verbs import VERBS

EXAMPLES = """\b
Examples:
  ghostwire demo
  ghostwire serve
  ghostwire key create --user alice
  ghostwire up --server URL --pin sha256:HEX --key KEY"""


class VerbGroup(click.Group):
    """Looks verbs up in the table, so that help and completion import none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every verb, in the table's order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name][0]}.command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"did you mean `ghostwire {near[0]}`?" if near else "`ghostwire --help` lists the verbs."
            raise click.UsageError(f"there is no verb {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(
    cls=VerbGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="ghostwire %(version)s")
@click.pass_context
def ghostwire(ctx: click.Context) -> None:
    """A self-hosted coordinator for WireGuard meshes, and the agent that joins them.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable, 4 not permitted.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
