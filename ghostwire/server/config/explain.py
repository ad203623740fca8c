"""Saying what the configuration is: values with their origins, and the example file."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

from ghostwire.server.config.keys import Key, keys
from ghostwire.server.config.load import Loaded
from ghostwire.server.config.schema import Config


def values(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """The configuration as sections of keys, spelt as a file would."""
    shown: dict[str, dict[str, Any]] = {}
    for key in keys().values():
        value = getattr(getattr(loaded.config, key.section), key.name)
        shown.setdefault(key.section, {})[key.name] = key.spell(value)
    return shown


def as_yaml(loaded: Loaded) -> str:
    """The configuration as a file would hold it."""
    lines = []
    for section, entries in values(loaded).items():
        lines.append(f"{section}:")
        lines += [f"  {name}: {json.dumps(value)}" for name, value in entries.items()]
    return "\n".join(lines)


def explained(loaded: Loaded) -> list[dict[str, Any]]:
    """Each key with its value, default, origin and meaning."""
    shown = values(loaded)
    return [
        {
            "key": key.path,
            "value": shown[key.section][key.name],
            "default": key.spell(key.default),
            "source": str(loaded.origins[key.path]),
            "environment": key.variable,
            "meaning": key.description,
        }
        for key in keys().values()
    ]


def example_file() -> str:
    """A configuration file with every key: defaults in force, and commented examples where the default is nothing."""
    lines = [
        "# Ghostwire's configuration, every key with its default. Keep only what you change.",
        "# Read from --config FILE, else ghostwire.yaml in the data folder, else /etc/ghostwire/ghostwire.yaml.",
        "# GHOSTWIRE_SECTION_KEY in the environment wins over the file, flags win over both;",
        "# `ghostwire config show --explain` says where each value comes from.",
    ]
    for section, section_type in get_type_hints(Config).items():
        lines += ["", f"# {(section_type.__doc__ or '').strip()}", f"{section}:"]
        for key in keys().values():
            if key.section == section:
                lines += _example(key)
    return "\n".join(lines) + "\n"


def _example(key: Key) -> list[str]:
    meaning = f"  # {key.description}"
    if key.default is None or key.default == ():
        return [meaning, f"  # {key.name}: {json.dumps(key.example)}"]
    return [meaning, f"  {key.name}: {json.dumps(key.spell(key.default))}"]
