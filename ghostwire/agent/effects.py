"""What the machine wants done. The shell performs effects in order."""

from __future__ import annotations

from typing import Literal

import msgspec

from ghostwire.agent.memory import KeptMap, Memory
from ghostwire.agent.plan import Step
from ghostwire.errors import GhostwireError, InternalError


class Dial(msgspec.Struct, frozen=True):
    """Connect to `origin`; then `opened` or `lost`. A peer certificate that does not match `pin` is `refused`."""

    origin: str
    pin: bytes


class Transmit(msgspec.Struct, frozen=True):
    """Send one frame over the connection that is open."""

    frame: bytes

    def __repr__(self) -> str:
        return f"<Transmit {len(self.frame)} bytes>"


class HangUp(msgspec.Struct, frozen=True):
    """Close the connection, after what was transmitted. The machine expects no `lost` for it."""


class Tune(msgspec.Struct, frozen=True):
    """Bring the tunnel from what it was told to what it should be, step by step."""

    steps: tuple[Step, ...]


class Keep(msgspec.Struct, frozen=True):
    """Remember this. With `now`, it must be on disk before the next effect is performed.

    Where it can't be, the connection is given up and the machine told that it is `lost`.
    """

    memory: Memory
    now: bool = False


class KeepMap(msgspec.Struct, frozen=True):
    """Keep this map for a start without a coordinator."""

    kept: KeptMap


class Forget(msgspec.Struct, frozen=True):
    """Remove every key and the map from disk: the node has left for good."""


class Measure(msgspec.Struct, frozen=True):
    """Take a sample of load and traffic, what the filter's rules did and peers exchanged, and hand it to `measured`."""


class Say(msgspec.Struct, frozen=True):
    """A line for the log."""

    level: Literal["debug", "info", "warning", "error"]
    text: str


class Quit(msgspec.Struct, frozen=True):
    """Nothing more to do. `code` is a code of the error tree, empty when the end was asked for."""

    code: str = ""
    message: str = ""

    def error(self) -> GhostwireError:
        """The error of the tree that `code` names."""
        kinds = {kind.code: kind for kind in GhostwireError.__subclasses__()}
        return kinds.get(self.code, InternalError)(self.message)


Effect = Dial | Transmit | HangUp | Tune | Keep | KeepMap | Forget | Measure | Say | Quit
