from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore

from todoku.kernel.clock import VirtualClock
from todoku.vault import open_vault
from todoku.vault.conformance import check_vault
from todoku.vault.errors import VaultCorrupt, VaultFull, VaultUnavailable
from todoku.vault.local import LocalVault
from todoku.vault.log import Record, VaultLog, recover
from todoku.vault.objects import ObjectVault

PUT_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from todoku.vault.local import LocalVault
from todoku.vault.log import Record, VaultLog, recover

async def main():
    vault = LocalVault(Path(sys.argv[1]))
    stored = await asyncio.gather(*(vault.put("p", b"mail %d" % number) for number in range(60)))
    print(*(one.key for one in stored), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def logs_of(folder: Path) -> list[Path]:
    return list((folder / "log").glob("*.log"))


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
            assert failing in {1, 2, 6}
        else:
            assert await vault.get(stored.key) == content
        monkeypatch.setattr(os, call, real)
        assert list((tmp_path / "tmp").iterdir()) == []
        stored = await vault.put(f"p{failing}", content)
        assert await vault.get(stored.key) == content
    await vault.close()
    assert logs_of(tmp_path) == []


def test_files_that_a_power_cut_took_or_spoilt_come_back_from_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUT_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        keys = writer.stdout.readline().split()
        writer.kill()
    assert len(logs_of(tmp_path)) == 1
    paths = [tmp_path / "p" / key[2:4] / key[2:] for key in keys]
    for path in paths[:20]:
        path.unlink()
    for path in paths[20:40]:
        path.write_bytes(b"\0" * path.stat().st_size)
    vault = LocalVault(tmp_path)
    assert logs_of(tmp_path) == []
    assert asyncio.run(vault.get_many(keys)) == [b"mail %d" % number for number in range(60)]
    asyncio.run(vault.close())


async def test_the_log_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path)
    stored = await vault.put("p", b"the mail")
    (path,) = logs_of(tmp_path)
    again = LocalVault(tmp_path)
    assert logs_of(tmp_path) == [path]
    assert await again.get(stored.key) == b"the mail"
    await vault.close()
    assert logs_of(tmp_path) == []
    await again.close()


async def test_a_full_log_goes_when_its_files_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todoku.vault.log.LOG_OCTETS", 10_000)
    vault = LocalVault(tmp_path)
    contents = [b"%d" % number * 900 for number in range(40)]
    stored = [await vault.put("p", content) for content in contents]
    await vault.close()
    assert logs_of(tmp_path) == []
    assert await vault.get_many([one.key for one in stored]) == contents


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_left_of_a_log_gives_back_its_first_records_whole(tmp_path: Path, data: st.DataObject) -> None:
    """Cut or spoil it anywhere: what was written before that place is there, nothing else, and nothing torn."""
    contents = data.draw(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
    records = [Record(f"p-{n}", hashlib.sha256(one).hexdigest(), one) for n, one in enumerate(contents)]
    made = VaultLog(tmp_path)
    ends = []
    for record in records:
        made.append([record])
        ends.append(made.octets)
    spoilt = made.path.read_bytes()
    made.remove()
    at = data.draw(st.integers(0, ends[-1]))
    octet = data.draw(st.one_of(st.none(), st.integers(1, 255)))
    torn = spoilt[:at] if octet is None else spoilt[:at] + bytes([spoilt[at] ^ octet]) + spoilt[at + 1 :]
    (tmp_path / "log" / "dead.log").write_bytes(torn)
    found: list[Record] = []
    assert recover(tmp_path, found.append) == len(found)
    assert found == records[: sum(end <= at for end in ends)]
    assert logs_of(tmp_path) == []


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
