from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore

from todoku.vault import open_vault
from todoku.vault.conformance import check_vault
from todoku.vault.errors import VaultCorrupt, VaultFull, VaultMissing, VaultUnavailable
from todoku.vault.local import LocalVault
from todoku.vault.objects import ObjectVault
from todoku.vault.opening import INDEX
from todoku.vault.packs import read_at
from todoku.vault.records import Content, digest_of, head_of, places

PUT_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from todoku.vault.local import LocalVault

async def main():
    vault = LocalVault(Path(sys.argv[1]))
    stored = await asyncio.gather(*(vault.put("p", b"mail %d" % number) for number in range(60)))
    print(*(one.key for one in stored), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def open_packs_of(folder: Path) -> list[Path]:
    return list((folder / "packs").glob("*.open"))


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
    (path,) = open_packs_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"the mail", b"the mai1"))
    with pytest.raises(VaultCorrupt):
        await vault.get(stored.key)
    assert (await vault.put("p", b"the mail")).created
    assert await vault.get(stored.key) == b"the mail"
    await vault.close()


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
async def test_a_put_beside_a_failing_disk_is_whole_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Fail the 1st, 2nd, 3rd ... call in turn, and at last all of them."""
    real = getattr(os, call)
    vault = LocalVault(tmp_path)
    for failing in range(1, 7):
        calls = 0

        def fail(descriptor: int, nth: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == nth or nth == 6:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        content = f"mail {failing}".encode()
        monkeypatch.setattr(os, call, fail)
        try:
            stored = await vault.put(f"p{failing}", content)
        except VaultUnavailable:
            assert failing in {1, 2, 3, 6}
        else:
            assert await vault.get(stored.key) == content
        monkeypatch.setattr(os, call, real)
        stored = await vault.put(f"p{failing}", content)
        assert await vault.get(stored.key) == content
    await vault.close()
    assert open_packs_of(tmp_path) == []


def test_what_a_killed_process_was_told_is_there_also_when_the_index_lost_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUT_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        keys = writer.stdout.readline().split()
        writer.kill()
    assert len(open_packs_of(tmp_path)) == 1
    with contextlib.closing(sqlite3.connect(tmp_path / INDEX, isolation_level=None)) as connection:
        row = 'SELECT "offset" + length FROM contents ORDER BY "offset" LIMIT 1 OFFSET 30'
        (end,) = connection.execute(row).fetchone()
        connection.execute('DELETE FROM contents WHERE "offset" > ?', (end,))
        connection.execute('UPDATE packs SET "end" = ?', (end,))
    vault = LocalVault(tmp_path)
    assert asyncio.run(vault.get_many(keys)) == [b"mail %d" % number for number in range(60)]
    asyncio.run(vault.close())
    assert open_packs_of(tmp_path) == []


async def test_the_pack_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path)
    stored = await vault.put("p", b"the mail")
    (path,) = open_packs_of(tmp_path)
    again = LocalVault(tmp_path)
    assert open_packs_of(tmp_path) == [path]
    assert await again.get(stored.key) == b"the mail"
    await vault.close()
    assert open_packs_of(tmp_path) == []
    await again.close()


async def test_a_full_pack_is_closed_and_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todoku.vault.packs.PACK_OCTETS", 10_000)
    monkeypatch.setattr("todoku.vault.reader.OPEN_PACKS", 2)
    monkeypatch.setattr("todoku.vault.index.CHECKPOINT_ROWS", 7)
    vault = LocalVault(tmp_path)
    contents = [b"%d" % number * 900 for number in range(40)]
    stored = [await vault.put("p", content) for content in contents]
    assert len(list((tmp_path / "packs").glob("*.pack"))) >= 5
    assert await vault.get_many([one.key for one in stored]) == contents
    await vault.close()
    assert open_packs_of(tmp_path) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_left_of_a_pack_gives_back_each_record_that_was_not_touched(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Cut or spoil it anywhere: all records but the spoilt one are there, and nothing else."""
    contents = data.draw(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
    wanted = [Content(f"p-{n}", digest_of(one), one) for n, one in enumerate(contents)]
    spans, pack = [], b""
    for one in wanted:
        begin = len(pack)
        pack += head_of(one) + one.content
        spans.append((begin, len(pack)))
    at = data.draw(st.integers(0, len(pack) - 1))
    octet = data.draw(st.one_of(st.none(), st.integers(1, 255)))
    path = tmp_path / "dead.open"
    path.write_bytes(pack[:at] if octet is None else pack[:at] + bytes([pack[at] ^ octet]) + pack[at + 1 :])
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = [
            Content(place.project_id, place.digest, content)
            for place in places(descriptor)
            if digest_of(content := read_at(descriptor, place.offset, place.length)) == place.digest
        ]
    finally:
        os.close(descriptor)
    assert found == [
        one for one, (begin, end) in zip(wanted, spans, strict=True) if end <= at or (octet is not None and begin > at)
    ]


async def test_one_bad_put_does_not_harm_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.pwrite

    def write(descriptor: int, data: bytes, at: int) -> int:
        if b"bad" in bytes(data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real_write(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", write)
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
    assert await vault.get(first.key) == b"a" * 300_000
    small = await vault.put("p", b"still fits")
    assert await vault.get(small.key) == b"still fits"
    await vault.close()


async def test_a_folder_of_the_form_before_packs_is_empty_and_stays(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"the mail").hexdigest()
    old = tmp_path / "p" / digest[:2] / digest
    old.parent.mkdir(parents=True)
    old.write_bytes(b"the mail")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "7.abc.log").write_bytes(b"TDK1")
    vault = LocalVault(tmp_path)
    with pytest.raises(VaultMissing):
        await vault.get(f"p/{digest}")
    assert (await vault.put("p", b"the mail")).created
    assert await vault.get(f"p/{digest}") == b"the mail"
    await vault.close()
    assert old.read_bytes() == b"the mail"


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
