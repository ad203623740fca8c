"""The passphrase that may stand in for the store's key: read where the store is opened, and nowhere before."""

from __future__ import annotations

from pathlib import Path

from ghostwire.errors import ValidationError


def check(file: Path | None) -> None:
    """Look at a passphrase's file, not into it. Raises `ValidationError` where it is missing or others may read it."""
    if file is None:
        return
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise _unreadable(file, error) from error
    if mode & 0o077:
        raise ValidationError(f"database.passphrase_file {file} is readable by others: run `chmod 600 {file}`.")


def read(file: Path | None) -> str | None:
    """The passphrase in a file, None without one. Raises what `check` does, and for an empty one."""
    check(file)
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    if not text:
        raise ValidationError(f"database.passphrase_file {file} is empty.")
    return text


def _unreadable(file: Path, error: Exception) -> ValidationError:
    return ValidationError(f"database.passphrase_file {file} cannot be read: {error}")
