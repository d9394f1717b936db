"""Which user PostgreSQL runs as, and what that user can reach."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from todoku.engines.errors import EngineFailed

CANDIDATES = ("todoku", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the machine, with all groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def own_name() -> str:
    """Return the name of the user that we are; raises EngineFailed when it has none (initdb needs one)."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EngineFailed(
            f"the user with number {os.geteuid()} has no name, and PostgreSQL refuses to run without one",
            todo="add it to /etc/passwd, run as a named user, or set TODOKU_DATABASE_URL",
            transient=False,
        ) from None


def unprivileged_account() -> Account | None:
    """Return the user that PostgreSQL is to run as, None = the one that we are (not root).

    PostgreSQL refuses root. A user named `todoku` is the administrator's own choice and goes first; `postgres` is
    made for this; `nobody` exists everywhere, but other programs may run as it too.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))
    raise EngineFailed(
        "PostgreSQL refuses to run as root, and there is no user todoku, postgres or nobody to run it",
        todo="make one (`useradd --system todoku`), run as an ordinary user, or set TODOKU_DATABASE_URL",
        transient=False,
    )


def may_pass(folder: Path, account: Account) -> bool:
    """Tell whether the account can walk from / into this existing folder, by the permission bits of each part."""
    folder = folder.resolve()
    return all(_may_enter(part.stat(), account) for part in (folder, *folder.parents))


def _may_enter(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid or status.st_gid in account.groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
