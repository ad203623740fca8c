"""The replay contract: recorded inputs in, what each node would be sent out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghostwire._native import policy as native
from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def run(lines: Iterable[str]) -> Iterator[str]:
    """Answer each JSON line with one JSON line; only `test_id` and `input` are looked at. Blank lines are skipped.

    A refused policy is an answer. ValidationError is for a line that is no case, and says which one.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield native.replay(line)
        except ValidationError as error:
            raise ValidationError(f"line {number}: {error.message}") from error
