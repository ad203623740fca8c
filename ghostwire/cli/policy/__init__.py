"""`ghostwire policy`: one file an intention, put together here."""

from __future__ import annotations

import click

from ghostwire.cli.policy import compare, explain, files, versions


@click.group("policy")
def command() -> None:
    """Show, check, compare and apply the access policy, a HuJSON file."""


for _verb in (
    versions.show,
    versions.history,
    files.check,
    files.replay,
    compare.diff,
    compare.test,
    compare.lint,
    explain.explain,
    versions.apply,
    versions.confirm,
    versions.rollback,
):
    command.add_command(_verb)
