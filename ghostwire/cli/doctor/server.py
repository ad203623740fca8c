"""The server's folder, key, configuration and port."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

from ghostwire.cli.doctor.finding import Finding, examine
from ghostwire.errors import GhostwireError, UnavailableError
from ghostwire.server.config.load import Loaded, find_file, load
from ghostwire.server.config.options import credential

LITTLE_SPACE = 512 * 1024 * 1024
_COPIES = "the store's file and its copies"


def findings(data: Path, file: Path | None) -> list[Finding]:
    """Look at a server's folder and at what it would be told."""
    try:
        loaded = load(find_file(file, data), os.environ, {})
    except GhostwireError as error:
        return [
            Finding("config", "fail", error.message, "`ghostwire config show --example` prints every key"),
            folder(data),
        ]
    source = str(loaded.file) if loaded.file is not None else "no file: defaults and environment"
    return [
        Finding("config", "ok", source),
        folder(data),
        store_key(data, loaded),
        examine("coordinator", lambda: coordinator(data, loaded)),
    ]


def folder(data: Path) -> Finding:
    """Whether the data folder can be written and is closed to others, and how much room it has."""
    above = data
    while not above.exists():
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        who = "it" if above == data else f"{data} cannot be made: {above}"
        return Finding(
            "folder", "warn", f"this user cannot write in {above}", f"{who} belongs to another user; use --data DIR"
        )
    if above != data:
        return Finding("folder", "note", f"{data} will be made by `ghostwire serve`")
    mode = data.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding("folder", "fail", f"{data} is open to others (mode {mode:o})", f"run `chmod 700 {data}`")
    free = shutil.disk_usage(data).free
    if free < LITTLE_SPACE:
        return Finding(
            "folder", "warn", f"{free >> 20} MB are free for {data}", "make room: a full disk refuses changes"
        )
    return Finding("folder", "ok", f"{data}, {free >> 20} MB free")


def store_key(data: Path, loaded: Loaded) -> Finding:
    """Where the store's key lives, whether others can read it, and what it protects there."""
    database = loaded.config.database
    if database.passphrase_file is not None:
        return _key_file(database.passphrase_file, "the passphrase", _COPIES)
    if database.key_file is not None:
        return _key_file(database.key_file, "the store's key", _COPIES)
    if (handed := credential(os.environ)) is not None:
        return Finding("store key", "ok", f"systemd hands over the store's key in {handed}; it protects {_COPIES}")
    own = data / "store.key"
    if not own.exists() and (database.path or data / "ghostwire.db").exists():
        text = f"the store is here and its key is not in {own}: a systemd credential, or another configuration, has it"
        return Finding("store key", "note", text)
    if not own.exists():
        return Finding("store key", "note", f"{own} will be made at the first start; see --store-key for a safer place")
    protects = "copies of the store's file, not the folder: who reads this folder reads the store"
    return _key_file(own, "the store's key", protects)


def _key_file(file: Path, what: str, protects: str) -> Finding:
    try:
        mode = file.stat().st_mode & 0o777
    except OSError as error:
        return Finding("store key", "fail", f"{file} cannot be read: {error.strerror}")
    if mode & 0o077:
        return Finding("store key", "fail", f"{file} is readable by others (mode {mode:o})", f"run `chmod 600 {file}`")
    return Finding("store key", "ok", f"{what} lies in {file}; it protects {protects}")


def coordinator(data: Path, loaded: Loaded) -> Finding:
    """Whether a coordinator answers, and if none does, whether its port is free."""
    from ghostwire.cli.admin import Admin

    with Admin.local(data) as admin:
        try:
            admin.get("/v1/health/live")
        except UnavailableError:
            return _port(loaded.config.server.listen_addr)
    return Finding("coordinator", "ok", f"runs in {data}")


def _port(listen: str) -> Finding:
    from ghostwire.server.listen.endpoint import parse_listen

    endpoint = parse_listen(listen)
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                advice = "stop it, or choose another with --listen ADDR:PORT"
                return Finding("coordinator", "warn", f"none runs, and another program holds {listen}", advice)
            return Finding("coordinator", "warn", f"none runs, and {listen} cannot be used: {error.strerror}")
    return Finding("coordinator", "note", f"none runs; {listen} is free", "start one with `ghostwire serve`")
