"""The schema as a flat table: `section.key` -> type, default, meaning."""

from __future__ import annotations

import difflib
import functools
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ghostwire.errors import ValidationError
from ghostwire.server.config import units
from ghostwire.server.config.schema import Config

ENVIRONMENT_PREFIX = "GHOSTWIRE_"


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that can be set. `kind` is its type without Meta and without None; `optional`: None is a value."""

    section: str
    name: str
    annotation: Any
    kind: Any
    optional: bool
    default: Any
    description: str
    example: Any

    @property
    def path(self) -> str:
        """`section.name`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.name}".upper()

    def read(self, value: Any, loose: bool = False) -> Any:
        """Check and convert a raw value. `loose`: it is text from the environment or a flag; lists split at commas.

        Raises ValidationError that says what was expected.
        """
        if value is None or (loose and value == "" and self.optional):
            if self.optional:
                return None
            raise ValidationError("a value is missing")
        if self.kind is units.Duration:
            return units.parse_duration(value) if isinstance(value, str) else units.duration(_number(value))
        if self.kind is units.Size:
            return units.parse_size(value) if isinstance(value, str) else units.size(int(_number(value)))
        if self.kind is Path:
            return Path(_convert(value, str, False)).expanduser()
        if isinstance(value, bool) and {"on", "off"} <= set(get_args(self.kind)):
            # YAML reads the bare words on and off as booleans.
            value = "on" if value else "off"
        if loose and get_origin(self.kind) is tuple:
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str) and self.path == "logging.level":
            value = value.upper()
        return _convert(value, self.annotation, loose)

    def spell(self, value: Any) -> Any:
        """Write a value the way a file would, as text, number, boolean, list or None."""
        if value is None:
            return None
        if self.kind is units.Duration:
            return units.spell_duration(value)
        if self.kind is units.Size:
            return units.spell_size(value)
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError(f"expected text or a number, got {type(value).__name__}")
    return value


def _convert(value: Any, annotation: Any, loose: bool) -> Any:
    try:
        return msgspec.convert(value, annotation, strict=not loose)
    except msgspec.ValidationError as error:
        # msgspec ends some messages with ` - at ...`, a place inside the value.
        raise ValidationError(str(error).partition(" - at")[0]) from error


@functools.cache
def keys() -> dict[str, Key]:
    """Every key by its path, in the schema's order."""
    table = {}
    for section, section_type in get_type_hints(Config).items():
        defaults = section_type()
        for name, annotation in get_type_hints(section_type, include_extras=True).items():
            bare, meta = get_args(annotation)
            optional = get_origin(bare) in (types.UnionType, Union)
            kind = next(part for part in get_args(bare) if part is not types.NoneType) if optional else bare
            example = meta.examples[0] if meta.examples else None
            found = Key(section, name, annotation, kind, optional, getattr(defaults, name), meta.description, example)
            table[found.path] = found
    return table


def nearest(path: str) -> str:
    """Say which key is meant by one that does not exist, as the end of a sentence."""
    table = keys()
    near = difflib.get_close_matches(path, table, n=1, cutoff=0.6)
    if not near:
        name = path.rpartition(".")[2]
        near = [known for known in table if known.rpartition(".")[2] == name]
    if near:
        return f"did you mean `{near[0]}`?"
    section = path.partition(".")[0]
    names = [key.name for key in table.values() if key.section == section]
    if names:
        return f"`{section}` has {', '.join(names)}."
    return f"the sections are {', '.join(Config.__struct_fields__)}."
