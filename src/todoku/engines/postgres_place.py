"""Where PostgreSQL's data, socket and programs are: in the home when its user can reach it, elsewhere when not."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from todoku.engines import files
from todoku.engines.accounts import Account, may_pass
from todoku.engines.errors import EngineFailed

log = structlog.get_logger(__name__)

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 107  # bytes of sun_path without its end (unix(7))
SYSTEM_DATA = Path("/var/lib/todoku-postgres")
SYSTEM_PROGRAMS = Path("/var/cache/todoku-postgres")
SHORT = Path("/tmp")  # noqa: S108  # only folders of mode 0700 with the right owner are used in it


@dataclass(frozen=True, slots=True)
class Place:
    """base: folder of ours with the configuration; data: PostgreSQL's own; sockets: mode 0700, its user's."""

    base: Path
    data: Path
    sockets: Path


def prepare(home: Path, account: Account | None) -> Place:
    """Make the folders with the right owners and return them; raises OSError, EngineFailed.

    When the account can't walk into the home (a root's private folder), the base is a folder below /var/lib with a
    random name, noted in `<home>/postgres.location`; a home made anew never finds the data of an old one.
    """
    base = _base(home, account)
    data = base / "data"
    sockets = _sockets(home, base, account)
    return Place(base, data, sockets)


def make_owned(folder: Path, account: Account | None) -> None:
    """Make the folder with mode 0700, owned by the account; an existing one is brought to that state."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise
    if account is not None:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    folder.chmod(0o700)


def reachable_program(program: Path, account: Account | None) -> Path:
    """Return the program, or a copy of its installation that the account can read.

    The wheel's programs may lie below a private folder (a venv in /root). The copy is made once per version, owned
    by root, of hard links where the file system allows.
    """
    if account is None or may_pass(program.parent, account):
        return program
    installation = program.parent.parent
    status = program.stat()
    mark = hashlib.sha256(f"{installation}:{status.st_mtime_ns}:{status.st_size}".encode()).hexdigest()[:16]
    target = _cache_folder() / mark
    copied = target / installation.parent.name / installation.name
    if not copied.exists():
        aside = Path(tempfile.mkdtemp(prefix=f"{mark}.", dir=target.parent))
        aside.chmod(0o755)
        package = installation.parent
        _copy(installation, aside / package.name / installation.name)
        libraries = package.with_name(f"{package.name}.libs")  # the programs look for them beside the package
        if libraries.is_dir():
            _copy(libraries, aside / libraries.name)
        try:
            aside.rename(target)
        except OSError:
            shutil.rmtree(aside)
            if not copied.exists():
                raise
        log.info("engine.programs_copied", source=str(installation), target=str(copied))
    return copied / program.parent.name / program.name


def _base(home: Path, account: Account | None) -> Path:
    inside = home / "postgres"
    note = home / "postgres.location"
    if account is None or (may_pass(home, account) and not note.exists()):
        inside.mkdir(mode=0o755, exist_ok=True)
        return inside
    noted = files.read_or_empty(note)
    if noted and Path(noted).is_dir():
        return Path(noted)
    if noted:
        raise EngineFailed(
            f"{note} says that the data are in {noted}, but that folder is gone",
            todo="bring it back, or remove the note to begin with an empty database",
            transient=False,
        )
    if (inside / "data" / "PG_VERSION").exists():
        raise EngineFailed(
            f"the user {account.name}, as which PostgreSQL runs, can't walk into {home} any more",
            kept=f"the data in {inside}",
            todo=f"allow it to pass (`chmod o+x` on the folders above {inside})",
            transient=False,
        )
    SYSTEM_DATA.mkdir(mode=0o755, parents=True, exist_ok=True)
    _require_ours(SYSTEM_DATA)
    place = SYSTEM_DATA / f"{_short_hash(home)}-{secrets.token_hex(4)}"
    place.mkdir(mode=0o755)
    (place / "home").write_text(f"{home}\n", encoding="utf-8")
    files.write_private(note, str(place))
    log.warning("engine.data_elsewhere", home=str(home), place=str(place), user=account.name)
    return place


def _sockets(home: Path, base: Path, account: Account | None) -> Path:
    wanted = home / "run" / "postgres" if base.parent == home else base / "run"
    # libpq takes a comma for the start of another host's name
    if len(os.fsencode(wanted / SOCKET_NAME)) <= SOCKET_PATH_LIMIT and "," not in str(wanted):
        make_owned(wanted, account)
        return wanted
    short = SHORT / f"todoku-{_short_hash(home)}"
    owner = account.uid if account is not None else os.geteuid()
    try:
        short.mkdir(mode=0o700)
        if account is not None:
            os.chown(short, account.uid, account.gid)
    except FileExistsError:
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
            # somebody else's: never used; the URL file tells ours
            short = Path(tempfile.mkdtemp(prefix="todoku-", dir=SHORT))
            make_owned(short, account)
    return short


def _cache_folder() -> Path:
    try:
        SYSTEM_PROGRAMS.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = SYSTEM_PROGRAMS
    except OSError:
        folder = SHORT / "todoku-postgres-programs"
        folder.mkdir(mode=0o755, exist_ok=True)
    _require_ours(folder)
    return folder


def _require_ours(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise EngineFailed(
            f"{folder} is not a folder that only we can write to, so it isn't used",
            todo="remove it, or give it to this user with mode 0755",
            transient=False,
        )


def _copy(source: Path, target: Path) -> None:
    """Copy a tree for everybody to read; what needs no running server stays behind."""
    shutil.copytree(
        source,
        target,
        symlinks=True,
        copy_function=_link_or_copy,
        ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig", "__pycache__"),
    )
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)
    target.parent.chmod(0o755)


def _link_or_copy(source: str, target: str) -> str:
    mode = Path(source).stat().st_mode
    if mode & 0o004:
        try:
            os.link(source, target)
            return target
        except OSError:
            log.debug("engine.link_impossible", source=source)
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if mode & 0o100 else 0o644)
    return target


def _short_hash(home: Path) -> str:
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
