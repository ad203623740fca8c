"""The policy language, read and checked."""

from __future__ import annotations

from typing import Self

from ghostwire._native import policy as native
from ghostwire.errors import ValidationError
from ghostwire.policy.facts import WrittenRule


class Policy:
    """A parsed and checked policy; it knows no users and no nodes."""

    __slots__ = ("core",)

    def __init__(self, core: native.Policy) -> None:
        self.core = core

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read a policy text: HuJSON, UTF-8, at most 64 MiB.

        ValidationError says what is wrong in the words of the original, then line, column and what was expected.
        """
        if isinstance(text, bytes):
            text = _decode(text)
        try:
            return cls(native.Policy.parse(text))
        except UnicodeEncodeError as error:
            line, column = text.count("\n", 0, error.start) + 1, error.start - text.rfind("\n", 0, error.start)
            raise ValidationError(f"not a character (line {line}, column {column}; expected UTF-8)") from error

    @property
    def allows_everything(self) -> bool:
        """Whether the text has neither `acls` nor `grants`, which means: everything is allowed."""
        return self.core.allows_everything

    def rules(self) -> tuple[WrittenRule, ...]:
        """Return every rule and where it stands: denials by their priority, `grants`, `acls`, those of `ghostwire`."""
        return tuple(WrittenRule(*rule) for rule in self.core.rules())

    def __len__(self) -> int:
        """Return the number of rules in `acls` and `grants`."""
        return len(self.core)


def default_policy() -> Policy:
    """Return what holds without a policy file: each user's own, untagged devices reach each other, nothing else."""
    return Policy(native.Policy.own_devices())


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line, start = raw.count(b"\n", 0, error.start) + 1, raw.rfind(b"\n", 0, error.start)
        column = len(raw[start + 1 : error.start].decode()) + 1
        message = f"byte {raw[error.start]:#04x} is not UTF-8 (line {line}, column {column}; expected UTF-8)"
        raise ValidationError(message) from error
