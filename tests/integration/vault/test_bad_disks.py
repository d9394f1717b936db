"""Disks that fail, are full, or lose their power: what was answered is there, and the vault goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.vault.bad_disk import BadDisk

from todoku.vault.errors import VaultError, VaultFull, VaultMissing, VaultUnavailable
from todoku.vault.index import remove_index
from todoku.vault.local import LocalVault
from todoku.vault.opening import INDEX

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

ROLL_PACKS = """
import asyncio, sys
from pathlib import Path
import todoku.vault.packs
from todoku.vault.local import LocalVault

todoku.vault.packs.PACK_OCTETS = 100

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


def packs_of(folder: Path, ending: str = "*") -> list[Path]:
    return sorted((folder / "packs").glob(f"*.{ending}"))


@pytest.mark.parametrize("seed", range(40))
def test_what_was_answered_by_a_failing_disk_is_there_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Fail appends and fdatasyncs, lose the last of the index, in a process and in those that recover."""
    monkeypatch.setattr("todoku.vault.packs.PACK_OCTETS", 4_000)
    folder = tmp_path / "vault"
    disk = BadDisk(folder, seed, monkeypatch)
    chance = random.Random(seed)
    kept: dict[str, bytes] = {}

    async def work(vault: LocalVault) -> None:
        for _ in range(12):
            disk.failing = chance.choice((0.0, 0.1, 0.5))
            answered, _ = await put_all(vault, [chance.randbytes(300) for _ in range(chance.randint(1, 8))])
            kept.update(answered)
            if chance.random() < 0.2:
                disk.index_reaches_disk()
        disk.failing = chance.choice((0.2, 1.0))
        await vault.close()

    asyncio.run(work(LocalVault(folder)))
    for _ in range(3):
        if chance.random() < 0.5:
            disk.cut_power()
        try:
            vault = LocalVault(folder)
        except VaultError:
            disk.failing = 0.1
        else:
            disk.failing = 1.0
            asyncio.run(vault.close())
        disk.failing = 0.3
    disk.cut_power()
    disk.failing = 0.0
    has_all(folder, kept)
    assert len(kept) > 5


@pytest.mark.parametrize("failing", range(1, 12))
def test_a_disk_that_has_no_room_at_one_step_refuses_or_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Fail the n-th call that may need room; put again what was refused, and it is kept."""
    calls = 0

    def failing_call(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return call

    async def work() -> None:
        nonlocal calls
        vault = LocalVault(tmp_path)
        for name in ("pwrite", "fdatasync", "fsync", "posix_fallocate", "ftruncate"):
            monkeypatch.setattr(os, name, failing_call(getattr(os, name)))
        contents = [b"%d" % number * 500 for number in range(30)]
        kept, refused = await put_all(vault, contents)
        assert {type(error) for error in refused} <= {VaultFull}
        assert len(refused) <= 1
        assert await vault.get_many(list(kept)) == list(kept.values())
        kept, refused = await put_all(vault, contents)
        assert len(kept) == 30
        await vault.close()
        calls = failing  # no later one fails
        await asyncio.to_thread(has_all, tmp_path, kept)

    asyncio.run(work())


async def test_an_index_that_can_not_be_written_fails_the_puts_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("todoku.vault.index.BUSY_SECONDS", 0.01)
    vault = LocalVault(tmp_path)
    before = await vault.put("p", b"before")
    other = sqlite3.connect(tmp_path / INDEX, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    kept, refused = await put_all(vault, [b"%d" % number * 500 for number in range(10)])
    assert kept == {}
    assert {type(error) for error in refused} == {VaultUnavailable}
    assert await vault.get(before.key) == b"before"
    other.execute("ROLLBACK")
    other.close()
    kept, refused = await put_all(vault, [b"%d" % number * 500 for number in range(10)])
    assert len(kept) == 10
    await vault.close()
    (pack,) = packs_of(tmp_path)
    assert pack.stat().st_size < 10 * 700, "what was refused is not in the pack twice"
    await asyncio.to_thread(has_all, tmp_path, kept)


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
        assert await vault.get_many(list(before | some)) == list((before | some).values())
        filler.unlink()
        after, refused = await put_all(vault, [os.urandom(9_000) for _ in range(40)])
        assert refused == []
        kept.update(before | some | after)
        assert await vault.get_many(list(kept)) == list(kept.values())
        await vault.close()
        assert packs_of(folder, "open") == []

    asyncio.run(work())
    has_all(folder, kept)


def test_what_the_index_lost_waits_for_room_on_a_full_disk(small_disk: Path) -> None:
    """A power cut took the last of the index, and something else has taken the room."""
    folder = small_disk / "vault"
    kept = killed_after_puts(folder)
    remove_index(folder / INDEX)
    filler = fill(small_disk)
    (pack,) = packs_of(folder, "open")
    for _ in range(2):
        with pytest.raises(VaultFull, match="no space left"):
            LocalVault(folder)
        assert pack.exists()
    filler.unlink()
    has_all(folder, kept)
    assert not pack.exists()


def test_a_vault_opens_on_a_full_disk_when_nothing_is_missing(small_disk: Path) -> None:
    folder = small_disk / "vault"
    kept = killed_after_puts(folder)
    fill(small_disk)
    has_all(folder, kept)


def test_a_torn_record_at_the_end_of_a_pack_harms_none_before_it(tmp_path: Path) -> None:
    kept = killed_after_puts(tmp_path)
    remove_index(tmp_path / INDEX)
    (pack,) = packs_of(tmp_path, "open")
    whole = pack.read_bytes().rstrip(b"\0")
    pack.write_bytes(whole[:-30])
    vault = LocalVault(tmp_path)
    found = asyncio.run(vault.get_many(list(kept)))
    asyncio.run(vault.close())
    assert found[:-1] == list(kept.values())[:-1]
    assert isinstance(found[-1], VaultMissing)


def test_a_vault_opens_beside_a_process_that_makes_and_closes_packs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ROLL_PACKS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        try:
            for _ in range(100):
                asyncio.run(LocalVault(tmp_path).close())
            assert writer.poll() is None
        finally:
            writer.kill()


def test_two_processes_put_and_read_at_once(tmp_path: Path) -> None:
    """Each has what the other was told; the same bytes put by both are there once."""
    command = [sys.executable, "-c", PUT_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            vault = LocalVault(tmp_path)
            mine, refused = asyncio.run(put_all(vault, [b"%d" % number * 2_000 for number in range(130, 190)]))
            keys = writer.stdout.readline().split()
            theirs = {key: b"%d" % number * 2_000 for number, key in enumerate(keys, 100)}
            assert refused == []
            assert asyncio.run(vault.get_many(list(mine | theirs))) == list((mine | theirs).values())
            assert len(mine | theirs) == 90
            asyncio.run(vault.close())
        finally:
            writer.kill()


@pytest.mark.parametrize("damage", ["gone", "no index at all", "its first page", "a page within"])
def test_an_index_that_is_lost_or_damaged_is_made_anew(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("todoku.vault.packs.PACK_OCTETS", 100_000)
    kept = killed_after_puts(tmp_path)
    vault = LocalVault(tmp_path)
    more, _ = asyncio.run(put_all(vault, [b"%d" % number * 500 for number in range(500, 900)]))
    asyncio.run(vault.close())
    kept |= more
    assert len(packs_of(tmp_path, "pack")) > 3
    index = tmp_path / INDEX
    octets = index.read_bytes()
    if damage == "gone":
        index.unlink()
    elif damage == "no index at all":
        index.write_bytes(b"what is this?" * 1_000)
    elif damage == "its first page":
        index.write_bytes(octets[:100] + b"\xff" * 1_948 + octets[2_048:])
    else:
        index.write_bytes(octets[:-2_048] + b"\xff" * 2_048)
        vault = LocalVault(tmp_path)
        refused = [one for one in asyncio.run(vault.get_many(list(kept))) if isinstance(one, VaultError)]
        asyncio.run(vault.close())
        assert refused
        assert {type(one) for one in refused} == {VaultUnavailable}
        assert all(one.transient for one in refused)
    has_all(tmp_path, kept)


def test_a_put_that_meets_a_damaged_page_fails_and_the_next_start_mends_it(tmp_path: Path) -> None:
    contents = [b"%d" % number * 10 for number in range(400)]
    vault = LocalVault(tmp_path)
    kept, _ = asyncio.run(put_all(vault, contents))
    asyncio.run(vault.close())
    index = tmp_path / INDEX
    index.write_bytes(index.read_bytes()[:-2_048] + b"\xff" * 2_048)
    vault = LocalVault(tmp_path)
    _, refused = asyncio.run(put_all(vault, contents))
    asyncio.run(vault.close())
    assert {type(error) for error in refused} == {VaultUnavailable}
    vault = LocalVault(tmp_path)
    again, refused = asyncio.run(put_all(vault, contents))
    asyncio.run(vault.close())
    assert refused == []
    assert again == kept


async def test_an_index_that_others_use_is_not_replaced(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path)
    stored = await vault.put("p", b"the mail")
    remove_index(tmp_path / INDEX)
    with pytest.raises(VaultUnavailable, match="other processes still use it"):
        LocalVault(tmp_path)
    with pytest.raises(VaultUnavailable, match="removed while the vault was open"):
        await vault.put("p", b"the next")
    await vault.close()
    again = LocalVault(tmp_path)
    assert await again.get(stored.key) == b"the mail"
    await again.close()
