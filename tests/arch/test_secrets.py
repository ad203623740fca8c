"""Whatever carries a secret says so of itself: no value with one prints it."""

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import msgspec

from tests.arch.imports import modules

SECRETS = {"secret", "token", "passphrase", "preauth_key", "mac_key", "node_private", "machine_private", "private"}
"""How fields that hold secrets are called, where what they hold is text or bytes."""


def carriers() -> Iterator[type]:
    """Every value type with such a field that its `repr` would show."""
    for module in modules():
        if module.name.endswith("__main__"):
            continue
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and SECRETS & shown(kind):
                yield kind


def shown(kind: type) -> set[str]:
    if issubclass(kind, msgspec.Struct):
        return {field.name for field in msgspec.structs.fields(kind) if holds_text(field.type)}
    if is_dataclass(kind):
        return {field.name for field in fields(kind) if field.repr and holds_text(field.type)}
    return set()


def holds_text(annotation: object) -> bool:
    return any(word in str(annotation) for word in ("str", "bytes"))


def test_no_value_prints_its_secrets() -> None:
    found = list(carriers())
    assert len(found) > 10, "the search finds nothing any more"
    bare = [kind.__qualname__ for kind in found if not own_repr(kind)]
    assert bare == []


def own_repr(kind: type) -> bool:
    """Whether somebody wrote its `repr`: those that are generated have another name or file."""
    written = next(vars(base)["__repr__"] for base in kind.__mro__ if "__repr__" in vars(base))
    code = getattr(inspect.unwrap(written), "__code__", None)
    return code is not None and code.co_filename.endswith(".py")
