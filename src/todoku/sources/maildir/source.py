"""The Maildir as a MailSource."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from todoku.kernel.clock import Clock
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.mailbox_files import MAX_MAIL_BYTES
from todoku.sources.types import Listed

_PARTS: Final = ("new", "cur")
_LOOK_SECONDS: Final = 0.25  # between two looks at the folders' own times: two calls of stat
_MOVED_TRIES: Final = 3


class MaildirSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the Maildir is. folder: that with `new`, `cur` and `tmp` in it."""

    folder: str


class MaildirSource:
    """One Maildir. Keys: unique names without flags."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """folder: that with `new`, `cur` and `tmp` in it; it need not be there yet."""
        self._folder = folder
        self._clock = clock
        self._places: dict[str, str] = {}  # by key: the path below the folder, as it was listed last
        self._seen: tuple[int, ...] = ()  # times of the folders at the last listing

    async def list_mails(self) -> AsyncIterator[Listed]:
        """Give every mail in `new` and `cur`; raises CannotLook."""
        for listed in await asyncio.to_thread(self._scan):
            yield listed

    async def fetch(self, key: str) -> bytes:
        """Return the mail; raises MailVanished, CannotFetch."""
        return await asyncio.to_thread(self._read, key)

    async def until_changed(self, seconds: float) -> None:
        """Return when a file came, went or was renamed, or after so many seconds."""
        deadline = self._clock.monotonic_seconds() + seconds
        while await asyncio.to_thread(self._times) == self._seen:
            left_seconds = deadline - self._clock.monotonic_seconds()
            if left_seconds <= 0:
                return
            await asyncio.sleep(min(left_seconds, _LOOK_SECONDS))

    async def close(self) -> None:
        """Forget where mails lay."""
        self._places, self._seen = {}, ()

    def _scan(self) -> list[Listed]:
        times = self._times()  # before the names: what comes in between is seen at the next look
        places: dict[str, str] = {}
        found: list[Listed] = []
        for part in _PARTS:
            try:
                with os.scandir(self._folder / part) as entries:
                    for entry in entries:
                        key = _key_of(entry.name)
                        if not key or key in places:
                            continue
                        try:
                            if not entry.is_file():
                                continue
                            modified_seconds = entry.stat().st_mtime
                        except FileNotFoundError:
                            continue  # moved or removed meanwhile; moved ones are in `cur`, which is read last
                        places[key] = f"{part}/{entry.name}"
                        found.append(Listed(key, datetime.fromtimestamp(modified_seconds, UTC)))
            except OSError as error:
                raise _cannot_look(self._folder / part, error) from error
        self._places, self._seen = places, times
        return found

    def _read(self, key: str) -> bytes:
        for _ in range(_MOVED_TRIES):
            place = self._places.get(key)
            if place is None:
                break
            path = self._folder / place
            try:
                with path.open("rb") as file:
                    raw = file.read(MAX_MAIL_BYTES + 1)
            except FileNotFoundError:
                self._scan()  # flagged or moved to `cur` by somebody who reads mail
                continue
            except OSError as error:
                raise CannotFetch(f"{path} can't be read: {error.strerror or error}", kept="the file") from error
            if len(raw) > MAX_MAIL_BYTES:
                raise CannotFetch(f"{path} is larger than {MAX_MAIL_BYTES // 1024**2} MB", kept="the file")
            return raw
        raise MailVanished(f"{key} is not in {self._folder} any more")

    def _times(self) -> tuple[int, ...]:
        try:
            return tuple((self._folder / part).stat().st_mtime_ns for part in _PARTS)
        except OSError:
            return ()


def _key_of(name: str) -> str:
    """Return the unique name, "" for what is no mail."""
    return "" if name.startswith(".") else name.partition(":")[0]


def _cannot_look(folder: Path, error: OSError) -> CannotLook:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CannotLook(
            Cause.MISSING, f"there is no folder {folder}", todo="name the Maildir that has new, cur and tmp in it"
        )
    cause = Cause.CREDENTIAL if isinstance(error, PermissionError) else Cause.UNREACHABLE
    return CannotLook(cause, f"{folder} can't be listed: {error.strerror or error}", todo="let this process read it")
