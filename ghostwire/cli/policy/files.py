"""`ghostwire policy check|replay`, and reading policy files: what needs no coordinator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ghostwire.cli import screen
from ghostwire.cli.options import json_option
from ghostwire.errors import ValidationError

FILE = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
MAX_BYTES = 64 * 1024 * 1024
ALLOWS_ALL = (
    "this policy has neither acls nor grants, which allows everything: add `acls: []` to deny, or --allow-all if you "
    "mean it."
)
_PLACE = re.compile(r" \(line (\d+), column (\d+)(; |\))")
allow_all_option = click.option("--allow-all", is_flag=True, help="Accept a policy that allows everything.")


@click.command("check", epilog="\b\nExamples:\n  ghostwire policy check policy.hujson\n  ghostwire policy check -")
@click.argument("file", type=FILE)
@allow_all_option
@json_option
def check(file: Path, allow_all: bool, as_json: bool) -> None:
    """Read a policy file as `apply` would, and change nothing. Needs no coordinator."""
    from ghostwire.policy import Policy

    with faults_of(file):
        policy = Policy.parse(read_policy(file))
    if policy.allows_everything and not allow_all:
        raise ValidationError(f"{named(file)}: {ALLOWS_ALL}")
    value = {"valid": True, "allows_everything": policy.allows_everything}
    screen.show(value, as_json, lambda: f"{file} is a valid policy. `ghostwire policy apply {file}` puts it in force.")


@click.command(
    "replay",
    epilog="\b\nExamples:\n  ghostwire policy replay cases.jsonl.xz --out results.jsonl\n  ghostwire policy replay -",
)
@click.argument("file", type=FILE)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-", metavar="F",
    help="Where the answers go, one line of JSON a case [default: standard output].",
)  # fmt: skip
@json_option
def replay(file: Path, out: Path, as_json: bool) -> None:
    """Answer recorded cases: what their policies would send each node.

    A case is a line of JSON; the file may be packed (.xz). With --json a summary is printed at the end, on stdout, or
    on stderr where the answers go to stdout.
    """
    from ghostwire.policy import replay as replaying

    count = 0
    with click.open_file(str(out), "w", encoding="utf-8") as answers:
        for answer in replaying.run(_lines(file)):
            answers.write(answer + "\n")
            count += 1
    text = f"{count} cases answered"
    summary = json.dumps({"cases": count, "out": str(out)}) if as_json else text
    click.echo(summary, err=str(out) == "-")


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file, decompressed where its name says so. Raises ValidationError for a broken one."""
    import lzma

    try:
        packed = file.suffix == ".xz"
        with lzma.open(file, "rt", encoding="utf-8") if packed else click.open_file(str(file)) as stream:
            yield from stream
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise ValidationError(f"{file} is damaged: {error}") from error


def read_policy(file: Path) -> str:
    """The text of a policy file, `-` for standard input. Raises ValidationError for what is too long or no UTF-8."""
    with click.open_file(str(file), "rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValidationError(f"{named(file)}: a policy has at most {MAX_BYTES} bytes.")
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        *lines, last = raw[: error.start].decode().split("\n")
        place = f"{named(file)}:{len(lines) + 1}:{len(last) + 1}"
        raise ValidationError(f"{place}: a policy is UTF-8 text ({error.reason}).") from error


def named(file: Path) -> str:
    """What a policy file is called where something is said of it."""
    return "<stdin>" if str(file) == "-" else str(file)


@contextmanager
def faults_of(file: Path | None) -> Iterator[None]:
    """Begin what is wrong with a policy file with the place in it, FILE:LINE:COLUMN, as compilers do."""
    try:
        yield
    except ValidationError as error:
        place = _PLACE.search(error.message)
        if file is None or place is None:
            raise
        rest = _PLACE.sub(" (" if place[3] == "; " else "", error.message, count=1)
        raise ValidationError(f"{named(file)}:{place[1]}:{place[2]}: {rest}") from error
