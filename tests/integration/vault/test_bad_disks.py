"""Disks that fail, are full, or lose their power: what was answered is there, and the vault goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.integration.vault.bad_disk import BadDisk

from todoku.vault.errors import VaultError, VaultFull, VaultUnavailable
from todoku.vault.local import LocalVault
from todoku.vault.log import Record, VaultLog, recover

PUT_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from todoku.vault.local import LocalVault

async def main():
    vault = LocalVault(Path(sys.argv[1]))
    stored = await asyncio.gather(*(vault.put("p", b"%d" % number * 2_000) for number in range(100, 160)))
    print(*(one.key for one in stored), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

ROLL_LOGS = """
import asyncio, sys
from pathlib import Path
import todoku.vault.log
from todoku.vault.local import LocalVault

todoku.vault.log.LOG_OCTETS = 100

async def main():
    vault = LocalVault(Path(sys.argv[1]))
    print("open", flush=True)
    number = 0
    while True:
        await vault.put("p", b"%d" % number * 100)
        number += 1

asyncio.run(main())
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted only by a root that may mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leaving: int = 0) -> Path:
    """Take all room but so many octets."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    filler.write_bytes(b"\1" * max(0, free - leaving))
    return filler


def killed_after_puts(folder: Path) -> dict[str, bytes]:
    """Return what a process was told that the vault has before it was killed."""
    command = [sys.executable, "-c", PUT_AND_WAIT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        keys = writer.stdout.readline().split()
        writer.kill()
    return {key: b"%d" % number * 2_000 for number, key in enumerate(keys, 100)}


async def put_all(vault: LocalVault, contents: list[bytes]) -> tuple[dict[str, bytes], list[VaultError]]:
    """Return what was answered, by its key, and the refusals."""
    answers = await asyncio.gather(*(vault.put("p", content) for content in contents), return_exceptions=True)
    kept: dict[str, bytes] = {}
    refused: list[VaultError] = []
    for answer, content in zip(answers, contents, strict=True):
        if isinstance(answer, VaultError):
            refused.append(answer)
        else:
            assert not isinstance(answer, BaseException)
            kept[answer.key] = content
    return kept, refused


def has_all(folder: Path, kept: dict[str, bytes]) -> None:
    vault = LocalVault(folder)
    try:
        assert asyncio.run(vault.get_many(list(kept))) == list(kept.values())
    finally:
        asyncio.run(vault.close())


@pytest.mark.parametrize("seed", range(40))
def test_what_was_answered_by_a_failing_disk_is_there_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Fail appends, fdatasyncs, syncfs and the kernel's own writing, in a process and in those that recover."""
    monkeypatch.setattr("todoku.vault.log.LOG_OCTETS", 4_000)
    disk = BadDisk(tmp_path, seed, monkeypatch)
    chance = random.Random(seed)
    kept: dict[str, bytes] = {}

    async def work(vault: LocalVault) -> None:
        for _ in range(12):
            disk.failing = chance.choice((0.0, 0.1, 0.5))
            answered, _ = await put_all(vault, [chance.randbytes(300) for _ in range(chance.randint(1, 8))])
            kept.update(answered)
            disk.write_back()
        disk.failing = chance.choice((0.2, 1.0))
        await vault.close()

    asyncio.run(work(LocalVault(tmp_path)))
    for _ in range(3):
        if chance.random() < 0.5:
            disk.cut_power()
        try:
            vault = LocalVault(tmp_path)
        except VaultUnavailable:
            disk.write_back()
        else:
            disk.failing = 1.0
            asyncio.run(vault.close())
        disk.failing = 0.3
    disk.cut_power()
    disk.failing = 0.0
    has_all(tmp_path, kept)
    assert len(kept) > 5


async def test_a_log_that_fails_within_a_group_goes_only_after_the_files_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One put was durable in a log, the next failed in it: the log was removed before the first had its file."""

    class AtOnce(ThreadPoolExecutor):
        def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            done: Future[Any] = Future()
            done.set_result(work(*arguments, **named))
            return done

    removed: list[bool] = []
    real_remove, real_sync = VaultLog.remove, os.fdatasync
    calls = itertools.count()

    def remove(self: VaultLog) -> None:
        removed.extend((tmp_path / "p" / one.sha256[:2] / one.sha256).exists() for one in self.records())
        real_remove(self)

    def sync(descriptor: int) -> None:
        if next(calls) % 2 == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_sync(descriptor)

    monkeypatch.setattr(VaultLog, "remove", remove)
    vault = LocalVault(tmp_path)
    await vault.put("p", b"the thread runs")
    monkeypatch.setattr("todoku.vault.local.os.fdatasync", sync)
    vault._syncer = AtOnce(1)
    kept, refused = await put_all(vault, [b"mail %d" % number for number in range(20)])
    await vault.close()
    assert kept
    assert refused
    assert len(removed) >= len(kept)
    assert all(removed)


async def test_a_log_whose_files_could_not_be_synced_goes_when_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("todoku.vault.log.LOG_OCTETS", 4_000)
    disk = BadDisk(tmp_path, 1, monkeypatch)
    monkeypatch.setattr(disk, "_fails", lambda: False)
    vault = LocalVault(tmp_path)
    kept, _ = await put_all(vault, [b"%d" % number * 300 for number in range(10, 40)])
    monkeypatch.setattr("todoku.vault.log._SYNCFS", lambda _: -1)
    await vault.put("p", b"the last of its log" * 300)
    more = [await vault.put("p", b"%d" % number * 3_000) for number in range(10, 13)]
    assert len(list((tmp_path / "log").glob("*.log"))) >= 1
    monkeypatch.setattr("todoku.vault.log._SYNCFS", disk._syncfs)
    more.append(await vault.put("p", b"13" * 3_000))
    await vault.close()
    assert list((tmp_path / "log").glob("*.log")) == []
    disk.cut_power()
    await asyncio.to_thread(
        has_all, tmp_path, kept | {one.key: b"%d" % number * 3_000 for number, one in enumerate(more, 10)}
    )


def test_a_disk_that_fills_up_loses_nothing_and_the_vault_goes_on_when_there_is_room(small_disk: Path) -> None:
    folder = small_disk / "vault"
    kept: dict[str, bytes] = {}

    async def work() -> None:
        vault = LocalVault(folder)
        before, _ = await put_all(vault, [os.urandom(4_000) for _ in range(40)])
        assert len(before) == 40
        filler = fill(small_disk, leaving=100_000)
        some, refused = await put_all(vault, [os.urandom(9_000) for _ in range(60)])
        assert refused
        assert {type(error) for error in refused} == {VaultFull}
        assert all(error.transient for error in refused)
        assert list((folder / "tmp").iterdir()) == []
        filler.unlink()
        after, refused = await put_all(vault, [os.urandom(9_000) for _ in range(40)])
        assert refused == []
        kept.update(before | some | after)
        assert await vault.get_many(list(kept)) == list(kept.values())
        await vault.close()
        assert list((folder / "log").glob("*.log")) == []

    asyncio.run(work())
    has_all(folder, kept)


def test_what_lies_in_a_log_waits_for_room_on_a_full_disk(small_disk: Path) -> None:
    """The files of a dead process were lost in a power cut, and something else has taken their room."""
    folder = small_disk / "vault"
    kept = killed_after_puts(folder)
    for key in kept:
        (folder / "p" / key[2:4] / key[2:]).unlink()
    filler = fill(small_disk)
    (log,) = (folder / "log").glob("*.log")
    for _ in range(2):
        with pytest.raises(VaultFull, match="no space left"):
            LocalVault(folder)
        assert log.exists()
        assert list((folder / "tmp").iterdir()) == []
    filler.unlink()
    has_all(folder, kept)
    assert not log.exists()


def test_a_vault_opens_on_a_full_disk_when_nothing_is_missing(small_disk: Path) -> None:
    folder = small_disk / "vault"
    kept = killed_after_puts(folder)
    fill(small_disk)
    has_all(folder, kept)


def test_room_that_a_log_reserved_is_used_for_what_lies_in_it(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_disk / "vault"
    kept = killed_after_puts(folder)
    (log,) = (folder / "log").glob("*.log")
    with log.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 1_800_000)
    for key in kept:
        (folder / "p" / key[2:4] / key[2:]).unlink()
    fill(small_disk)
    has_all(folder, kept)


def test_a_torn_record_at_the_end_of_a_log_harms_none_before_it(tmp_path: Path) -> None:
    kept = killed_after_puts(tmp_path)
    (log,) = (tmp_path / "log").glob("*.log")
    whole = log.read_bytes().rstrip(b"\0")
    for cut in (1, 30, 5_000):
        log.write_bytes(whole[:-cut])
        found: list[Record] = []
        assert recover(tmp_path, found.append) == 59
        assert [one.content for one in found] == list(kept.values())[:59]
    has_all(tmp_path, kept)


def test_a_vault_opens_beside_a_process_that_makes_and_removes_logs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ROLL_LOGS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        try:
            for _ in range(300):
                asyncio.run(LocalVault(tmp_path).close())
            assert writer.poll() is None
        finally:
            writer.kill()


def test_a_log_that_its_process_removes_meanwhile_is_no_failure(tmp_path: Path) -> None:
    killed_after_puts(tmp_path)
    (log,) = (tmp_path / "log").glob("*.log")
    assert recover(tmp_path, lambda _: log.unlink(missing_ok=True)) == 60
