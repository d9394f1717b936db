"""The vault in a folder, with group commit: puts that come together share the cost of reaching the disk."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from todoku.kernel.clock import Clock, SystemClock
from todoku.vault.errors import VaultError, VaultFull, VaultMissing, VaultUnavailable
from todoku.vault.keys import key_of, require_same, sha256_hex, split_key
from todoku.vault.types import Stored

log = structlog.get_logger(__name__)

GROUP = 128
SYNCERS = 4  # fsyncs side by side share commits of the file system's own journal; more threads gain nothing
LEFTOVER_AGE_SECONDS = 3600.0

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(slots=True)
class _Put:
    project_id: str
    content: bytes
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Stored]
    sha256: str = ""
    path: str = ""
    temporary: str = ""
    descriptor: int = -1
    created: bool = False
    error: VaultError | None = None
    folders: list[str] = field(default_factory=list)


class LocalVault:
    """Contents as files `<folder>/<project>/<2 hex>/<sha256>`, written aside, fsynced, renamed, folder fsynced."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._temporary = folder / "tmp"
        self._counter = itertools.count()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._syncers = ThreadPoolExecutor(SYNCERS, thread_name_prefix="vault")
        self._lock = threading.Lock()
        self._committer: threading.Thread | None = None
        self._closed = False
        self._known_folders: set[str] = set()
        try:
            made = [part for part in (folder, *folder.parents) if not part.exists()]
            self._temporary.mkdir(parents=True, exist_ok=True)
            for part in (folder, *(part.parent for part in made)):
                _sync_folder(str(part))
            self._remove_leftovers(clock or SystemClock())
        except OSError as error:
            raise _failure(f"the vault in {folder} can't be opened", error) from error

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
        project_id, sha256 = split_key(key)
        path = self._path(project_id, sha256)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            raise VaultMissing(f"the vault has nothing under {key}") from None
        except OSError as error:
            raise _failure(f"{key} can't be read", error) from error
        return require_same(key, sha256, content)

    async def close(self) -> None:
        """Finish the puts that were begun and end the threads; idempotent."""
        with self._lock:
            self._closed = True
            committer, self._committer = self._committer, None
            if committer is not None:
                self._queue.put(None)
        if committer is not None:
            await asyncio.to_thread(committer.join)
        self._syncers.shutdown(wait=False)

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
        # First all writes, then all fsyncs: the first fsync takes the others' metadata to disk with it, which is
        # much cheaper than write, fsync, write, fsync.
        try:
            for put in group:
                self._attempt(put, self._write_aside)
            list(self._syncers.map(self._sync_contents, [group[n::SYNCERS] for n in range(SYNCERS)]))
            for put in group:
                self._attempt(put, self._give_name)
            self._sync_folders(group)
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

    def _sync_contents(self, puts: Sequence[_Put]) -> None:
        for put in puts:
            self._attempt(put, _sync_content)

    def _attempt(self, put: _Put, step: Callable[[_Put], None]) -> None:
        """Do one step of one put; a failure ends this put, not its neighbours, and leaves no file behind."""
        if put.error is not None:
            return
        try:
            step(put)
        except OSError as error:
            self._known_folders.clear()  # one of them may have been removed under us
            put.error = _failure(f"{len(put.content):,} bytes could not be put in {self._folder}", error)
            _discard(put)

    def _write_aside(self, put: _Put) -> None:
        put.sha256 = sha256_hex(put.content)
        folder = f"{self._folder}/{put.project_id}/{put.sha256[:2]}"
        put.path = f"{folder}/{put.sha256}"
        self._make_folders(folder, put)
        put.folders.append(folder)  # also when the file is there: its folder entry may not be on disk yet
        put.created = not _is_whole(put.path, put.content)
        if put.created:
            put.temporary = f"{self._temporary}/{put.sha256}.{os.getpid()}.{next(self._counter)}"
            put.descriptor = os.open(put.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            view = memoryview(put.content)
            while view:
                view = view[os.write(put.descriptor, view) :]

    def _give_name(self, put: _Put) -> None:
        if put.created:
            Path(put.temporary).rename(put.path)
            put.temporary = ""

    def _make_folders(self, folder: str, put: _Put) -> None:
        if folder in self._known_folders:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        put.folders += [str(self._folder / put.project_id), str(self._folder)]

    def _sync_folders(self, group: Sequence[_Put]) -> None:
        """Fsync each touched folder once for the whole group; a failure fails the puts of that folder."""
        wanted: dict[str, list[_Put]] = {}
        for put in group:
            if put.error is None:
                for folder in put.folders:
                    wanted.setdefault(folder, []).append(put)
        for (folder, puts), error in zip(wanted.items(), self._syncers.map(_try_sync_folder, wanted), strict=True):
            if error is not None:
                for put in puts:
                    put.error = _failure(f"the folder {folder} could not be synced", error)
        for put in group:
            if put.error is None:
                self._known_folders.update(put.folders)

    def _path(self, project_id: str, sha256: str) -> Path:
        return self._folder / project_id / sha256[:2] / sha256

    def _remove_leftovers(self, clock: Clock) -> None:
        """Remove what a killed process left half-written; young ones may belong to a living process."""
        oldest = clock.now_utc().timestamp() - LEFTOVER_AGE_SECONDS
        for entry in self._temporary.iterdir():
            try:
                if entry.stat().st_mtime < oldest:
                    entry.unlink()
            except FileNotFoundError:
                continue  # another process was faster


def _answer(puts: Sequence[_Put]) -> None:
    for put in puts:
        if put.done.done():
            continue  # cancelled
        if put.error is not None:
            put.done.set_exception(put.error)
        else:
            put.done.set_result(Stored(key_of(put.project_id, put.sha256), put.sha256, len(put.content), put.created))


def _sync_content(put: _Put) -> None:
    if put.created:
        os.fsync(put.descriptor)
        descriptor, put.descriptor = put.descriptor, -1
        os.close(descriptor)


def _discard(put: _Put) -> None:
    descriptor, put.descriptor = put.descriptor, -1
    if descriptor >= 0:
        os.close(descriptor)
    if put.temporary:
        Path(put.temporary).unlink(missing_ok=True)


def _is_whole(path: str, content: bytes) -> bool:
    try:
        return Path(path).read_bytes() == content
    except FileNotFoundError:
        return False


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_sync_folder(folder: str) -> OSError | None:
    try:
        _sync_folder(folder)
    except OSError as error:
        return error
    return None


def _failure(what: str, error: OSError) -> VaultError:
    if error.errno in _FULL:
        return VaultFull(f"{what}: no space left", kept="what was put before", todo="free space on this disk")
    return VaultUnavailable(f"{what}: {error.strerror or error}", kept="what was put before", todo="look at this disk")
