"""Rules between prefixes, packed into R-trees for those who ask about many addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import numpy as np

from ghostwire._native import cidr

if TYPE_CHECKING:
    from ghostwire._native import policy as native

MANY: Final = 1_000
"""After so many questions about addresses the rules between prefixes are packed for those to come."""


class PrefixRules:
    """What an engine accepts between prefixes alone, as of when this is made. Who has an address does not count."""

    __slots__ = ("_axis", "_trees")

    def __init__(self, axis: native.Axis, four: native.Words, six: native.Words) -> None:
        self._axis = axis
        boxes = (
            np.frombuffer(memoryview(words), np.uint32) if len(words) else np.empty(0, np.uint32)
            for words in (four, six)
        )
        self._trees = tuple(map(cidr.Rules, boxes))

    @classmethod
    def of(cls, core: native.Engine) -> Self | None:
        """Pack the rules of an engine; None where these are too many."""
        found = core.boxes()
        if found is None:
            return None
        four, six, axis = found
        return cls(axis, four, six)

    def accept(self, src_ip: str, dst_ip: str, proto: int, port: int) -> bool:
        """Whether a rule opens a port between two addresses. ValidationError for what is no address."""
        place = self._axis.place(src_ip, dst_ip)
        if place is None:
            return False
        family, source, target = place
        return self._trees[family].match(source, target, proto, port) != cidr.NOTHING


class Packing:
    """How many have asked about addresses while rules stayed as they are, and the rules packed for those to come.

    Another takes its place when rules change: what a thread is packing then, of the rules before, is left behind.
    """

    __slots__ = ("_count", "_rules")

    def __init__(self) -> None:
        self._count = 0
        self._rules: PrefixRules | None = None

    def asked(self, core: native.Engine) -> PrefixRules | None:
        """Count a question; the packed rules of the engine, if there are any yet."""
        self._count = count = self._count + 1
        if count == MANY:
            self._rules = PrefixRules.of(core)
        return self._rules
