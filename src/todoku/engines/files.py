"""Small files by which engines tell others where they are."""

from __future__ import annotations

import os
from pathlib import Path

LOG_LIMIT_BYTES = 20 * 1024 * 1024


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace the file in one step; a reader sees the old text or the new, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    aside.replace(path)


def read_or_empty(path: Path) -> str:
    """Return the stripped text, "" when there is no such file."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def open_log(path: Path) -> Path:
    """Make the log's folder, put a large old log aside as `.1`, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path


def tail(path: Path, start: int, limit: int = 2_000) -> str:
    """Return what was written to a log from a position on, at most the last `limit` characters."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace").strip()[-limit:]
    except FileNotFoundError:
        return ""


def size(path: Path) -> int:
    """Return the size of a file, 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
