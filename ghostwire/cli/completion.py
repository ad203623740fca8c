"""`ghostwire completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ghostwire.errors import InternalError


@click.command(
    "completion",
    epilog="""\b
Examples:
  ghostwire completion bash >~/.local/share/bash-completion/completions/ghostwire
  ghostwire completion zsh >~/.zfunc/_ghostwire
  ghostwire completion fish >~/.config/fish/completions/ghostwire.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="Print the script as a JSON string.")
@click.pass_context
def command(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print a completion script for a shell."""
    from ghostwire.cli.screen import show

    root = ctx.find_root()
    kind = get_completion_class(shell)
    if kind is None:
        raise InternalError(f"click knows no completion for {shell}")
    script = kind(root.command, {}, "ghostwire", "_GHOSTWIRE_COMPLETE").source()
    show(script, as_json, lambda: script)
