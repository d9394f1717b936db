"""The vault in a folder, with group commit: puts that come together share the cost of reaching the disk."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from todoku.vault.errors import VaultError, VaultFull, VaultMissing, VaultUnavailable
from todoku.vault.index import is_damaged, lacks_room
from todoku.vault.keys import key_of, require_same, split_key
from todoku.vault.opening import INDEX, open_shelf
from todoku.vault.packs import FULL
from todoku.vault.reader import PackReader
from todoku.vault.records import Content, digest_of
from todoku.vault.shelf import distrust
from todoku.vault.types import Stored

log = structlog.get_logger(__name__)

GROUP = 128


@dataclass(slots=True)
class _Put:
    project_id: str
    content: bytes
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Stored]
    digest: bytes = b""
    created: bool = False
    error: VaultError | None = None


class LocalVault:
    """Contents in packs, found by an index; one thread writes for all."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, or make it; puts anew first what dead processes left in packs. Raises VaultError."""
        self._folder = folder
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._committer: threading.Thread | None = None
        self._closed = False
        self._reader = PackReader(folder, folder / INDEX)
        try:
            self._shelf, self._used = open_shelf(folder, self._reader)
        except (OSError, sqlite3.Error) as error:
            self._reader.close()
            raise _failure(f"the vault in {folder} can't be opened", error) from error
        except BaseException:
            self._reader.close()
            raise

    async def put(self, project_id: str, content: bytes) -> Stored:
        """Keep the bytes; see `Vault.put`. A cancelled put may or may not have been kept."""
        key_of(project_id, "")
        loop = asyncio.get_running_loop()
        put = _Put(project_id, content, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise VaultUnavailable("the vault was closed", kept="nothing was put")
            if self._committer is None:
                self._committer = threading.Thread(target=self._commit_groups, name="vault-commit", daemon=True)
                self._committer.start()
            self._queue.put(put)
        return await put.done

    async def get(self, key: str) -> bytes:
        """Return the bytes; see `Vault.get`."""
        (found,) = await self.get_many([key])
        if isinstance(found, VaultError):
            raise found
        return found

    async def get_many(self, keys: Sequence[str]) -> list[bytes | VaultError]:
        """Return the bytes of each key, or why not; see `Vault.get_many`."""
        return await asyncio.to_thread(self._read_many, keys)

    async def close(self) -> None:
        """Finish the puts that were begun, close the pack and end the thread; idempotent."""
        with self._lock:
            was_closed, self._closed = self._closed, True
            committer, self._committer = self._committer, None
            if committer is not None:
                self._queue.put(None)
        if committer is not None:
            await asyncio.to_thread(committer.join)
        if not was_closed:
            await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        self._shelf.close()
        self._reader.close()
        os.close(self._used)

    def _read_many(self, keys: Sequence[str]) -> list[bytes | VaultError]:
        answers: dict[int, bytes | VaultError] = {}
        wanted: list[tuple[int, str, bytes]] = []
        for number, key in enumerate(keys):
            try:
                project_id, sha256 = split_key(key)
            except VaultError as error:
                answers[number] = error
            else:
                wanted.append((number, project_id, bytes.fromhex(sha256)))
        contents: Sequence[bytes | OSError | sqlite3.Error | None]
        try:
            contents = self._reader.read_many([one[1:] for one in wanted])
        except (OSError, sqlite3.Error) as error:
            self._distrust_if_damaged(error)
            contents = [error] * len(wanted)
        for (number, _, digest), content in zip(wanted, contents, strict=True):
            answers[number] = _answer_of(keys[number], digest, content)
        return [answers[number] for number in range(len(keys))]

    def _commit_groups(self) -> None:
        """Take whatever waits, make it durable together, and only then answer."""
        ended = False
        while not ended:
            group: list[_Put] = []
            item = self._queue.get()
            while True:
                if item is None:
                    ended = True
                    break
                group.append(item)
                if len(group) >= GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(group)

    def _commit(self, group: Sequence[_Put]) -> None:
        try:
            self._keep_all(group)
        except Exception as error:
            log.exception("vault.group_failed", puts=len(group))
            for put in group:
                put.error = put.error or VaultUnavailable(f"the vault failed: {error!r}", kept="nothing was put")
        by_loop: dict[asyncio.AbstractEventLoop, list[_Put]] = {}
        for put in group:
            by_loop.setdefault(put.loop, []).append(put)
        for loop, puts in by_loop.items():
            try:
                loop.call_soon_threadsafe(_answer, puts)  # one wake-up for the group
            except RuntimeError:
                log.warning("vault.nobody_waits", puts=len(puts))  # their event loop was closed meanwhile
        self._shelf.tidy()

    def _keep_all(self, group: Sequence[_Put]) -> None:
        """Keep the group; one by one when it can't be together, so that no put fails for its neighbour's size."""
        for put in group:
            put.digest = digest_of(put.content)
        try:
            self._keep(group)
        except (OSError, sqlite3.Error) as reason:
            self._distrust_if_damaged(reason)
            for put in group:
                try:
                    self._keep([put])
                except (OSError, sqlite3.Error) as error:
                    put.error = _failure(f"{len(put.content):,} bytes could not be put in {self._folder}", error)

    def _distrust_if_damaged(self, error: OSError | sqlite3.Error) -> None:
        if isinstance(error, sqlite3.Error) and is_damaged(error):
            distrust(self._folder, error)

    def _keep(self, puts: Sequence[_Put]) -> None:
        created = self._shelf.keep([Content(put.project_id, put.digest, put.content) for put in puts])
        for put, is_new in zip(puts, created, strict=True):
            put.created = is_new


def _answer(puts: Sequence[_Put]) -> None:
    for put in puts:
        if put.done.done():
            continue  # cancelled
        if put.error is not None:
            put.done.set_exception(put.error)
        else:
            sha256 = put.digest.hex()
            put.done.set_result(Stored(key_of(put.project_id, sha256), sha256, len(put.content), put.created))


def _answer_of(key: str, digest: bytes, content: bytes | OSError | sqlite3.Error | None) -> bytes | VaultError:
    if content is None:
        return VaultMissing(f"the vault has nothing under {key}")
    if isinstance(content, Exception):
        return _failure(f"{key} can't be read", content)
    try:
        return require_same(key, digest.hex(), content)
    except VaultError as error:
        return error


def _failure(what: str, error: OSError | sqlite3.Error) -> VaultError:
    if lacks_room(error) if isinstance(error, sqlite3.Error) else error.errno in FULL:
        return VaultFull(f"{what}: no space left", kept="what was put before", todo="free space on this disk")
    why = error if isinstance(error, sqlite3.Error) else error.strerror or error
    return VaultUnavailable(f"{what}: {why}", kept="what was put before", todo="look at this disk")
