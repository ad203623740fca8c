"""What a disk may hold after a power cut: everything synced, and any part of what was not.

A write that was not synced may be there whole, in part (512-byte sectors are atomic), or not at all, whatever came of
those before and after it. Creations, deletions and truncations are taken as ordered, as on a journalling file system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ghostwire.testing.crash.recorder import Step

Survival = Literal["none", "all", "random", "torn"]
SECTOR: Final = 512
_KINDS: tuple[Survival, ...] = ("none", "all", "random", "torn")


@dataclass(frozen=True, slots=True)
class State:
    """A disk after a cut behind step `at`. `told` holds the notes marked before it."""

    at: int
    survival: Survival
    told: tuple[int, ...]
    files: dict[str, bytes]

    def write(self, directory: Path) -> None:
        """Put the files into an empty directory."""
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


def states(steps: Sequence[Step], count: int, source: random.Random) -> Iterator[State]:
    """`count` states, at cuts spread evenly over the steps, each with its own survival of unsynced writes."""
    cuts = sorted(source.randrange(len(steps) + 1) for _ in range(count))
    disk = _Disk()
    told: list[int] = []
    done = 0
    for number, at in enumerate(cuts):
        for step in steps[done:at]:
            if step.act == "mark":
                told.append(step.note)
            else:
                disk.apply(step)
        done = at
        survival = _KINDS[number % len(_KINDS)]
        yield State(at, survival, tuple(told), disk.cut(survival, source))


class _Disk:
    """Per file what is certain to be there, and the writes since its last sync."""

    def __init__(self) -> None:
        self._synced: dict[str, bytearray] = {}
        self._pending: dict[str, list[Step]] = {}

    def apply(self, step: Step) -> None:
        if step.act == "delete":
            self._synced.pop(step.file, None)
            self._pending.pop(step.file, None)
            return
        content = self._synced.setdefault(step.file, bytearray())
        pending = self._pending.setdefault(step.file, [])
        if step.act == "sync":
            for earlier in pending:
                _put(content, earlier)
            pending.clear()
        else:
            pending.append(step)

    def cut(self, survival: Survival, source: random.Random) -> dict[str, bytes]:
        files = {}
        for name, synced in self._synced.items():
            content = bytearray(synced)
            for step in self._pending.get(name, ()):
                if step.act == "truncate" or survival == "all":
                    _put(content, step)
                elif survival == "random":
                    if source.random() < 0.5:
                        _put(content, step)
                elif survival == "torn":
                    _put_torn(content, step, source)
            files[name] = bytes(content)
        return files


def _put(content: bytearray, step: Step) -> None:
    if step.act == "truncate":
        del content[step.offset :]
        return
    end = step.offset + len(step.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[step.offset : end] = step.data


def _put_torn(content: bytearray, step: Step, source: random.Random) -> None:
    """Each sector that the write touches arrives or does not."""
    at = step.offset
    end = step.offset + len(step.data)
    while at < end:
        upto = min(end, (at // SECTOR + 1) * SECTOR)
        if source.random() < 0.5:
            piece = step.data[at - step.offset : upto - step.offset]
            if len(content) < upto:
                content.extend(bytes(upto - len(content)))
            content[at:upto] = piece
        at = upto
