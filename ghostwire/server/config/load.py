"""Bringing sources together: flags over environment over file over default."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ghostwire.errors import ValidationError
from ghostwire.server.config import files
from ghostwire.server.config.keys import ENVIRONMENT_PREFIX, Key, keys, nearest
from ghostwire.server.config.schema import Config

SYSTEM_FILE = Path("/etc/ghostwire/ghostwire.yaml")
FILE_NAMES = ("ghostwire.yaml", "ghostwire.yml", "ghostwire.toml")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: `default`, a file's `PATH:LINE`, a variable's name, or a flag."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration, the file it was read from (None without one), and where each value comes from."""

    config: Config
    file: Path | None
    origins: dict[str, Origin]


def find_file(named: Path | None, data: Path | None, system: Path = SYSTEM_FILE) -> Path | None:
    """The configuration file: the one named, else that of the data folder, else the system's, else none.

    Raises ValidationError when the one named does not exist.
    """
    if named is not None:
        if not named.is_file():
            raise ValidationError(f"there is no configuration file {named}")
        return named
    here = [data / name for name in FILE_NAMES] if data is not None else []
    return next((path for path in (*here, system) if path.is_file()), None)


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, tuple[str, Any]]) -> Loaded:
    """Merge all sources. `flags` maps a key's path to (the flag as typed, its value).

    Raises ValidationError that lists every fault, each with its place and the nearest known key.
    """
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = dict.fromkeys(keys(), DEFAULT)
    faults: list[str] = []

    def take(path: str, origin: Origin, raw: Any, loose: bool) -> None:
        key = keys().get(path)
        if key is None:
            faults.append(f"{origin}: there is no setting `{path}`: {nearest(path)}")
            return
        try:
            values[path] = key.read(raw, loose)
        except ValidationError as error:
            faults.append(f"{origin}: `{path}`: {error.message}")
        else:
            origins[path] = origin

    if file is not None:
        for path, found in files.read(file).items():
            take(path, Origin("file", f"{file}:{found.line}" if found.line else str(file)), found.value, loose=False)
    for path, name, text in _variables(environment):
        take(path, Origin("environment", name), text, loose=True)
    for path, (flag, value) in flags.items():
        take(path, Origin("flag", flag), value, loose=isinstance(value, str))
    if faults:
        raise ValidationError("\n".join(faults))
    return Loaded(_build(values), file, origins)


def _variables(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The variables that are settings, or were meant to be: (key's path, variable, text).

    Such name a section, or nearly a key. Others with the prefix belong to somebody else.
    """
    by_name: dict[str, Key] = {key.variable: key for key in keys().values()}
    found = []
    for name, text in sorted(environment.items()):
        if name in by_name:
            found.append((by_name[name].path, name, text))
            continue
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("_")
        meant = name.startswith(ENVIRONMENT_PREFIX) and (
            section.lower() in Config.__struct_fields__ or difflib.get_close_matches(name, by_name, 1, cutoff=0.9)
        )
        if key and meant:
            found.append((f"{section}.{key}".lower(), name, text))
    return found


def _build(values: Mapping[str, Any]) -> Config:
    sections = {}
    for section, section_type in get_type_hints(Config).items():
        mine = {path.partition(".")[2]: value for path, value in values.items() if path.partition(".")[0] == section}
        sections[section] = section_type(**mine)
    return Config(**sections)
