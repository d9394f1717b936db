from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from todoku.kernel.clock import VirtualClock
from todoku.vault import open_vault
from todoku.vault.conformance import check_vault
from todoku.vault.errors import VaultCorrupt, VaultFull, VaultUnavailable
from todoku.vault.local import LocalVault
from todoku.vault.objects import ObjectVault


async def test_local_vault_keeps_every_rule(tmp_path: Path) -> None:
    await check_vault(lambda: open_vault("", tmp_path / "vault"))


async def test_object_vault_keeps_every_rule_in_memory() -> None:
    store = MemoryStore()
    await check_vault(lambda: ObjectVault(store, "memory"))


async def test_object_vault_keeps_every_rule_on_files(tmp_path: Path) -> None:
    await check_vault(lambda: ObjectVault(LocalStore(tmp_path), "files"))


async def test_object_store_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "local",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }.items():
        monkeypatch.setenv(name, value)
    vault = ObjectVault.from_url("s3://bucket/prefix", retries=0)
    with pytest.raises(VaultUnavailable, match="s3://bucket/prefix"):
        await vault.put("p", b"x")
    with pytest.raises(VaultUnavailable, match="s3://bucket/prefix"):
        await vault.get(f"p/{'0' * 64}")


async def test_rotten_bytes_are_never_handed_out_and_a_new_put_repairs_them(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path)
    stored = await vault.put("p", b"the mail")
    path = tmp_path / "p" / stored.sha256[:2] / stored.sha256
    path.write_bytes(b"the mai1")
    with pytest.raises(VaultCorrupt):
        await vault.get(stored.key)
    assert (await vault.put("p", b"the mail")).created
    assert await vault.get(stored.key) == b"the mail"
    await vault.close()


async def test_an_fsync_that_fails_fails_its_put_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the 1st, 2nd, 3rd … fsync in turn: a put is either whole and acknowledged or refused."""
    real_fsync = os.fsync
    vault = LocalVault(tmp_path)
    for failing in range(1, 6):
        calls = 0

        def fsync(descriptor: int, nth: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real_fsync(descriptor)

        content = f"mail {failing}".encode()
        monkeypatch.setattr(os, "fsync", fsync)
        try:
            stored = await vault.put(f"p{failing}", content)
        except VaultUnavailable:
            assert failing <= 4  # file, its folder, the project's folder, the vault's folder
        else:
            assert failing == 5
            assert await vault.get(stored.key) == content
        monkeypatch.setattr(os, "fsync", real_fsync)
        assert list((tmp_path / "tmp").iterdir()) == []
        stored = await vault.put(f"p{failing}", content)
        assert await vault.get(stored.key) == content
    await vault.close()


async def test_one_bad_put_does_not_harm_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        if bytes(data[:3]) == b"bad":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    vault = LocalVault(tmp_path)
    contents = [b"bad mail" if n == 7 else f"good {n}".encode() for n in range(20)]
    answers = await asyncio.gather(*[vault.put("p", content) for content in contents], return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, VaultUnavailable)] == [7]
    await vault.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted only by a root that may mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_full_disk_is_said_and_nothing_half_stays(small_disk: Path) -> None:
    vault = open_vault("", small_disk)
    first = await vault.put("p", b"a" * 300_000)
    with pytest.raises(VaultFull, match="no space left"):
        await vault.put("p", b"b" * 900_000)
    assert list((small_disk / "tmp").iterdir()) == []
    assert await vault.get(first.key) == b"a" * 300_000
    small = await vault.put("p", b"still fits")
    assert await vault.get(small.key) == b"still fits"
    await vault.close()


async def test_old_leftovers_go_and_young_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    for name, age in (("old", timedelta(hours=2)), ("young", timedelta(minutes=5))):
        path = tmp_path / "tmp" / name
        path.write_bytes(b"half")
        moment = (now - age).timestamp()
        os.utime(path, (moment, moment))
    vault = LocalVault(tmp_path, VirtualClock(now))
    assert [entry.name for entry in (tmp_path / "tmp").iterdir()] == ["young"]
    await vault.close()


async def test_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VaultUnavailable, match="can't be opened"):
        open_vault("", tmp_path / "file" / "vault")


async def test_closed_vault_refuses(tmp_path: Path) -> None:
    vault = open_vault("", tmp_path)
    await vault.put("p", b"x")
    await vault.close()
    await vault.close()
    with pytest.raises(VaultUnavailable, match="closed"):
        await vault.put("p", b"y")


def test_one_vault_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    vault = open_vault("", tmp_path)
    keys = [asyncio.run(_put(vault, str(n).encode())) for n in range(3)]
    assert len(set(keys)) == 3
    asyncio.run(vault.close())


async def _put(vault: object, content: bytes) -> str:
    assert isinstance(vault, LocalVault)
    return (await vault.put("p", content)).key
