"""The vault in a folder, with group commit: puts that come together share the cost of reaching the disk."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from todoku.kernel.clock import Clock, SystemClock
from todoku.vault.errors import VaultError, VaultFull, VaultMissing, VaultUnavailable
from todoku.vault.keys import key_of, require_same, sha256_hex, split_key
from todoku.vault.log import Record, VaultLog, recover
from todoku.vault.types import Stored

log = structlog.get_logger(__name__)

GROUP = 128
LEFTOVER_AGE_SECONDS = 3600.0

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(slots=True)
class _Put:
    project_id: str
    content: bytes
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Stored]
    sha256: str = ""
    created: bool = False
    error: VaultError | None = None


class LocalVault:
    """Contents as files `<folder>/<project>/<2 hex>/<sha256>`, written aside and renamed; durable by the log first."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        """Open the folder, or make it; writes first what a power cut left in logs. Raises VaultError."""
        self._folder = folder
        self._temporary = folder / "tmp"
        self._counter = itertools.count()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="vault-sync")
        self._lock = threading.Lock()
        self._committer: threading.Thread | None = None
        self._closed = False
        self._log: VaultLog | None = None
        self._ended: list[VaultLog] = []  # to be retired when all files of the group are written
        self._unsynced: list[VaultLog] = []  # their files could not be brought to the disk yet
        self._known_folders: set[str] = set()
        try:
            made = [part for part in (folder, *folder.parents) if not part.exists()]
            self._temporary.mkdir(parents=True, exist_ok=True)
            for part in (folder, *(part.parent for part in made)):
                _sync_folder(str(part))
            self._remove_leftovers(clock or SystemClock())
            recovered = recover(folder, self._write_anew)
        except OSError as error:
            raise _failure(f"the vault in {folder} can't be opened", error) from error
        if recovered:
            log.info("vault.recovered", contents=recovered)

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
        return await asyncio.to_thread(self._read, key)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | VaultError]:
        """Return the bytes of each key, or why not; see `Vault.get_many`."""
        return await asyncio.to_thread(lambda: [self._read_or_error(key) for key in keys])

    async def close(self) -> None:
        """Finish the puts that were begun, bring their files to the disk and end the threads; idempotent."""
        with self._lock:
            self._closed = True
            committer, self._committer = self._committer, None
            if committer is not None:
                self._queue.put(None)
        if committer is not None:
            await asyncio.to_thread(committer.join)
        await asyncio.to_thread(self._syncer.shutdown)
        while self._unsynced:
            self._unsynced.pop().leave()

    def _read(self, key: str) -> bytes:
        project_id, sha256 = split_key(key)
        try:
            content = self._path(project_id, sha256).read_bytes()
        except FileNotFoundError:
            raise VaultMissing(f"the vault has nothing under {key}") from None
        except OSError as error:
            raise _failure(f"{key} can't be read", error) from error
        return require_same(key, sha256, content)

    def _read_or_error(self, key: str) -> bytes | VaultError:
        try:
            return self._read(key)
        except VaultError as error:
            return error

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
        self._end_log()
        self._retire_logs()

    def _commit(self, group: Sequence[_Put]) -> None:
        try:
            self._log_all(group)
            for put in group:
                if put.error is None:
                    self._keep(put)
        except Exception as error:
            log.exception("vault.group_failed", puts=len(group))
            for put in group:
                put.error = put.error or VaultUnavailable(f"the vault failed: {error!r}", kept="nothing was put")
        if any(isinstance(put.error, VaultFull) for put in group) or (self._log is not None and self._log.is_full):
            self._end_log()  # also gives back the room that it reserved
        self._retire_logs()
        by_loop: dict[asyncio.AbstractEventLoop, list[_Put]] = {}
        for put in group:
            by_loop.setdefault(put.loop, []).append(put)
        for loop, puts in by_loop.items():
            try:
                loop.call_soon_threadsafe(_answer, puts)  # one wake-up for the group
            except RuntimeError:
                log.warning("vault.nobody_waits", puts=len(puts))  # their event loop was closed meanwhile

    def _log_all(self, group: Sequence[_Put]) -> None:
        """Append the group; one by one when it can't be together, so that no put fails for its neighbour's size."""
        for put in group:
            put.sha256 = sha256_hex(put.content)
        try:
            self._append(group)
        except OSError:
            for put in group:
                try:
                    self._append([put])
                except OSError as error:
                    put.error = self._failed_put(put, error)

    def _append(self, puts: Sequence[_Put]) -> None:
        if self._log is None:
            self._log = VaultLog(self._folder)
        try:
            self._log.append([Record(put.project_id, put.sha256, put.content) for put in puts])
        except OSError as error:
            if self._log.is_spoilt or error.errno not in _FULL:
                self._end_log()
            raise

    def _keep(self, put: _Put) -> None:
        try:
            put.created = self._write_file(Record(put.project_id, put.sha256, put.content))
        except OSError as error:
            put.error = self._failed_put(put, error)

    def _write_file(self, record: Record) -> bool:
        """Give the content its name unless it has it, whole; returns whether it was new. Not fsynced: the log is."""
        folder = f"{self._folder}/{record.project_id}/{record.sha256[:2]}"
        path = f"{folder}/{record.sha256}"
        if _is_whole(path, record.content):
            return False
        temporary = f"{self._temporary}/{record.sha256}.{os.getpid()}.{next(self._counter)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write(descriptor, record.content)
            finally:
                os.close(descriptor)
            if folder not in self._known_folders:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103  # a Path costs more than the call
                self._known_folders.add(folder)
            os.rename(temporary, path)  # noqa: PTH104
        except OSError:
            self._known_folders.clear()  # one of them may have been removed under us
            Path(temporary).unlink(missing_ok=True)
            raise
        return True

    def _write_anew(self, record: Record) -> None:
        """Write the content even when its file looks whole; in place then, which needs no room on a full disk."""
        path = self._path(record.project_id, record.sha256)
        if self._write_file(record):
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write(descriptor, record.content)
        finally:
            os.close(descriptor)

    def _end_log(self) -> None:
        """Let the next append begin another log."""
        if self._log is not None:
            self._ended.append(self._log)
            self._log = None

    def _retire_logs(self) -> None:
        """Remove those that have ended when their files are on disk; the files must be written."""
        while self._ended:
            self._syncer.submit(self._sync_and_remove, self._ended.pop(0))

    def _sync_and_remove(self, retired: VaultLog) -> None:
        """Remove it, and those that could not be removed before; what fails is tried again with the next."""
        earlier = list(self._unsynced)
        self._unsynced.append(retired)
        for one in (*earlier, retired):
            try:
                if one in earlier:
                    for record in one.records():
                        self._write_anew(record)
                one.sync_files()
                one.remove()
                self._unsynced.remove(one)
            except OSError as error:
                log.error("vault.not_synced", log=one.path.name, error=str(error), kept="the log, for the next time")
                break

    def _failed_put(self, put: _Put, error: OSError) -> VaultError:
        return _failure(f"{len(put.content):,} bytes could not be put in {self._folder}", error)

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


def _is_whole(path: str, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        return file.read() == content


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(what: str, error: OSError) -> VaultError:
    if error.errno in _FULL:
        return VaultFull(f"{what}: no space left", kept="what was put before", todo="free space on this disk")
    return VaultUnavailable(f"{what}: {error.strerror or error}", kept="what was put before", todo="look at this disk")
