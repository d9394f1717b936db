"""A Maildir as a source."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.integration.sources.maildir_bench import MaildirBench

from todoku.kernel.clock import SystemClock
from todoku.sources.conformance import check_source
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.maildir import MaildirSource


@pytest.fixture
def bench(tmp_path: Path) -> MaildirBench:
    return MaildirBench(tmp_path / "mail")


async def _keys(source: MaildirSource) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def test_a_maildir_does_what_sources_do(bench: MaildirBench) -> None:
    await check_source(bench)


async def test_a_mail_that_is_read_by_somebody_is_no_second_mail(bench: MaildirBench) -> None:
    file = bench.put("1.a.host", b"Subject: a\r\n\r\n")
    source = bench.open()
    before = await _keys(source)
    file.rename(bench.folder / "cur" / "1.a.host:2,S")
    assert await source.fetch(before[0]) == b"Subject: a\r\n\r\n", "moved between listing and reading"
    (bench.folder / "cur" / "1.a.host:2,S").rename(bench.folder / "cur" / "1.a.host:2,RS")
    assert await _keys(source) == before


async def test_what_is_no_mail_is_left_alone(bench: MaildirBench) -> None:
    (bench.folder / "new" / "folder").mkdir()
    (bench.folder / "new" / ".hidden").write_bytes(b"x")
    (bench.folder / "tmp" / "half").write_bytes(b"half a mail")
    assert await _keys(bench.open()) == []


async def test_a_folder_that_is_not_there_is_said_and_found_when_it_comes(tmp_path: Path) -> None:
    source = MaildirSource(tmp_path / "mail", SystemClock())
    with pytest.raises(CannotLook, match="there is no folder") as caught:
        await _keys(source)
    assert caught.value.cause is Cause.MISSING
    bench = MaildirBench(tmp_path / "mail")
    await bench.deliver(b"x")
    assert len(await _keys(source)) == 1


async def test_a_folder_that_must_not_be_read_is_said(bench: MaildirBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")  # root, who runs the tests, may read everything

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CannotLook, match="Permission denied") as caught:
        await _keys(bench.open())
    assert caught.value.cause is Cause.CREDENTIAL


async def test_one_mail_that_is_too_large_does_not_stop_the_next(
    bench: MaildirBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.sources.maildir import source as module

    monkeypatch.setattr(module, "MAX_MAIL_BYTES", 1024 * 1024)
    bench.put("1.large", b"x" * (1024 * 1024 + 1))
    bench.put("2.small", b"y")
    source = bench.open()
    await _keys(source)
    with pytest.raises(CannotFetch, match="larger than 1 MB"):
        await source.fetch("1.large")
    assert await source.fetch("2.small") == b"y"


async def test_a_maildir_that_is_made_anew_has_other_mails(bench: MaildirBench) -> None:
    bench.put("1.a.host", b"a")
    source = bench.open()
    (key,) = await _keys(source)
    shutil.rmtree(bench.folder)
    MaildirBench(bench.folder)
    with pytest.raises(MailVanished):
        await source.fetch(key)
