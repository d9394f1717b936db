"""DKIM keys on disk: one folder a domain, one PEM file a selector."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError
from todoku.mail.dkim import DkimKey, key_from_pem, require_key_names
from todoku.mail.errors import BadDkimKey

log = structlog.get_logger(__name__)

RELOAD_SECONDS = 5.0
_IN_USE = ".pem"
_WAITING = ".pem.waiting"  # made, but receivers can't find its public half yet

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of the folder. in_use: messages are signed with it."""

    key: DkimKey
    in_use: bool
    path: Path


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file of the folder, whether it can be used or not.

    key: None when it can't, for the reason in trouble. made_at_utc: when it was last written.
    """

    path: Path
    domain: str
    selector: str
    in_use: bool
    made_at_utc: datetime
    key: DkimKey | None
    trouble: str


class KeyFolder:
    """The keys of an installation, looked at again every RELOAD_SECONDS; safe to call from one thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Read nothing yet; the folder need not exist. folder: `<home>/dkim`."""
        self._folder = folder
        self._clock = clock
        self._keys: dict[str, tuple[DkimKey, ...]] = {}
        self._stamp: _Stamp | None = None
        self._looked_at_seconds: float | None = None
        self._complaint = ""
        self._surveyed: dict[tuple[str, int, int], KeyFile] = {}

    def keys_of(self, domain: str) -> tuple[DkimKey, ...]:
        """Return the keys in use of the domain, RSA first; of the nearest domain above it when it has none.

        Raises nothing: what can't be read is logged, and the keys read before stay.
        """
        now = self._clock.monotonic_seconds()
        if self._looked_at_seconds is None or now - self._looked_at_seconds >= RELOAD_SECONDS:
            self._looked_at_seconds = now
            try:
                self.reload()
            except (ConfigurationError, OSError) as error:
                if str(error) != self._complaint:
                    log.error("dkim.keys_unreadable", why=str(error), kept="the keys read before")
                self._complaint = str(error)
        name = domain
        while "." in name:
            if name in self._keys:
                return self._keys[name]
            name = name.partition(".")[2]
        return ()

    def reload(self) -> int:
        """Read the keys in use if any file changed; returns how many domains have some. Raises ConfigurationError."""
        stamp = self._current_stamp()
        if stamp != self._stamp:
            found: dict[str, list[DkimKey]] = {}
            for stored in self.stored():
                if stored.in_use:
                    found.setdefault(stored.key.domain, []).append(stored.key)
            self._keys = {
                domain: tuple(sorted(keys, key=lambda one: (one.algorithm != "rsa-sha256", one.selector)))
                for domain, keys in found.items()
            }
            self._stamp = stamp
            log.info("dkim.keys_read", domains=sorted(self._keys), keys=sum(map(len, self._keys.values())))
        self._complaint = ""
        return len(self._keys)

    def domains(self) -> list[str]:
        """Return the domains with keys in use, as they were last read."""
        return sorted(self._keys)

    def stored(self) -> Iterator[StoredKey]:
        """Yield every key, in use or waiting, by domain and selector; raises ConfigurationError for a bad file."""
        for path in self._files():
            in_use, selector = _named(path)
            try:
                key = key_from_pem(path.parent.name, selector, _read_private(path))
            except BadDkimKey as error:
                raise ConfigurationError(f"{path}: {error.what}") from error
            yield StoredKey(key, in_use, path)

    def survey(self) -> list[KeyFile]:
        """Return every key, also those that can't be used; only what changed since the last survey is read again."""
        known, self._surveyed = self._surveyed, {}
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue  # taken away just now
            stamp = (str(path), status.st_mtime_ns, status.st_mode)
            self._surveyed[stamp] = known.get(stamp) or self._key_file(path, status.st_mtime)
        return list(self._surveyed.values())

    def find(self, domain: str, selector: str) -> StoredKey:
        """Return one key; raises ConfigurationError when there is none."""
        for stored in self.stored():
            if (stored.key.domain, stored.key.selector) == (domain, selector):
                return stored
        raise ConfigurationError(f"there is no key {selector} of {domain} in {self._folder}")

    def add(self, key: DkimKey, *, in_use: bool) -> Path:
        """Write a key, mode 0600, fsynced; raises ConfigurationError when the selector is taken already."""
        require_key_names(key.domain, key.selector)
        folder = self._folder / key.domain
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used, waiting = folder / (key.selector + _IN_USE), folder / (key.selector + _WAITING)
        path = used if in_use else waiting
        if used.exists() or waiting.exists():
            raise ConfigurationError(f"{key.domain} has a key {key.selector} already: choose another --selector")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.pem())
            file.flush()
            os.fsync(file.fileno())
        return path

    def use(self, domain: str, selector: str, *, in_use: bool) -> Path:
        """Let messages be signed with the key from now on, or no longer; doing it again changes nothing."""
        stored = self.find(domain, selector)
        path = stored.path.parent / (selector + (_IN_USE if in_use else _WAITING))
        stored.path.rename(path)
        return path

    def _key_file(self, path: Path, written_seconds: float) -> KeyFile:
        in_use, selector = _named(path)
        key, trouble = None, ""
        try:
            key = key_from_pem(path.parent.name, selector, _read_private(path))
        except BadDkimKey as error:
            trouble = error.what
        except (ConfigurationError, OSError) as error:
            trouble = str(error)
        made_at_utc = datetime.fromtimestamp(written_seconds, UTC)
        return KeyFile(path, path.parent.name, selector, in_use, made_at_utc, key, trouble)

    def _files(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.glob("*/*.pem*") if path.name.endswith((_IN_USE, _WAITING)))

    def _current_stamp(self) -> _Stamp:
        return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_mode) for path in self._files())


def _named(path: Path) -> tuple[bool, str]:
    """Return whether the key is in use, and its selector."""
    in_use = not path.name.endswith(_WAITING)
    return in_use, path.name.removesuffix(_IN_USE if in_use else _WAITING)


def _read_private(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigurationError(f"{path} may be read by others (mode {mode:04o}): run chmod 600 {path}")
        return file.read()
