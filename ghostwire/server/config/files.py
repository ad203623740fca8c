"""Configuration files: YAML or TOML in, raw values with the line of each out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from ghostwire.errors import ValidationError

MAX_BYTES = 1024 * 1024


class Found(NamedTuple):
    """A raw value and the line where its key stands, None if unknown."""

    value: Any
    line: int | None


def read(path: Path) -> dict[str, Found]:
    """Read a file into `section.key` -> value.

    Raises ValidationError for a file that cannot be read, is no mapping of sections, or sets a key twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValidationError(f"{path}: a configuration file has at most {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path} cannot be read: {error}") from error
    return _toml(path, text) if path.suffix == ".toml" else _yaml(path, text)


def _toml(path: Path, text: str) -> dict[str, Found]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValidationError(f"{path}: {error}") from error
    lines = _toml_lines(text)
    found = {}
    for section, values in document.items():
        if not isinstance(values, dict):
            found[section] = Found(values, lines.get(section))
            continue
        for name, value in values.items():
            found[f"{section}.{name}"] = Found(value, lines.get(f"{section}.{name}"))
    return found


_TABLE = re.compile(r"\s*\[\s*([\w.\-\"' ]+?)\s*\]")
_ASSIGNMENT = re.compile(r"\s*([\w.\-\"' ]+?)\s*=")


def _toml_lines(text: str) -> dict[str, int]:
    """Where keys stand in a file that is known to be TOML; the parser itself keeps no lines."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if (header := _TABLE.match(line)) is not None:
            table = _bare(header[1]) + "."
        elif (assignment := _ASSIGNMENT.match(line)) is not None:
            lines.setdefault(table + _bare(assignment[1]), number)
    return lines


def _bare(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))


def _yaml(path: Path, text: str) -> dict[str, Found]:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        document = loader.get_single_node()
        if document is None:
            return {}
        found: dict[str, Found] = {}
        for section, line, node in _pairs(path, document, "the file"):
            if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
                # A section whose every key is commented out.
                continue
            if not isinstance(node, yaml.MappingNode):
                found[section] = Found(None, line)
                continue
            for name, key_line, value in _pairs(path, node, f"`{section}`"):
                found[f"{section}.{name}"] = Found(loader.construct_object(value, deep=True), key_line)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise ValidationError(f"{where}: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()
    return found


def _pairs(path: Path, node: Any, what: str) -> list[tuple[str, int, Any]]:
    import yaml

    if not isinstance(node, yaml.MappingNode) or node.tag != "tag:yaml.org,2002:map":
        raise ValidationError(f"{path}:{node.start_mark.line + 1}: {what} should be a mapping of keys to values")
    pairs: dict[str, tuple[str, int, Any]] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value)
        if name in pairs:
            raise ValidationError(f"{path}:{line}: {name!r} is set twice, first in line {pairs[name][1]}")
        pairs[name] = (name, line, value)
    return list(pairs.values())
