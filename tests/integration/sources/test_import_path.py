"""Importing files with a real bus and a real vault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from todoku.bus.connection import Bus
from todoku.kernel.clock import SystemClock
from todoku.sources import arrivals, files
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.errors import NotKept
from todoku.sources.files import import_path

if TYPE_CHECKING:
    from tests.integration.sources.conftest import Intake

SEPARATOR = b"From s@site.example Thu Jan  1 00:00:00 2026\n"


def mail(number: int) -> bytes:
    return b"Subject: %d\n\n\xff\x00 body %d\n" % (number, number)


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    folder = tmp_path / "mails"
    (folder / "shop" / "cur").mkdir(parents=True)
    (folder / "shop" / "new").mkdir()
    for number in range(3):
        (folder / f"{number}.eml").write_bytes(mail(number))
    (folder / "shop" / "cur" / "3.host:2,S").write_bytes(mail(3))
    (folder / "shop" / "new" / "4.host").write_bytes(mail(4))
    (folder / "old.mbox").write_bytes(b"".join(SEPARATOR + mail(number) + b"\n" for number in range(5, 205)))
    return folder


async def test_every_mail_arrives_byte_for_byte(intake: Intake, boxes: Path) -> None:
    done: list[int] = []
    report = await import_path(boxes, intake.writer, project_id=intake.project, progress=done.append)
    assert (report.found, report.arrived, report.failed, report.aborted) == (205, 205, [], "")
    assert done == list(range(1, 206))
    found = await intake.arrivals()
    assert {await intake.vault.get(arrival.vault_key) for arrival in found} == {mail(n) for n in range(205)}
    assert {arrival.source for arrival in found} == {"import"}
    assert {arrival.cursor for arrival in found} >= {
        str(boxes / "1.eml"),
        str(boxes / "shop" / "cur" / "3.host:2,S"),
        f"{boxes / 'old.mbox'}#0",
    }


async def test_importing_again_makes_arrivals_with_the_same_keys(intake: Intake, boxes: Path) -> None:
    for _ in range(2):
        await import_path(boxes / "1.eml", intake.writer, project_id=intake.project)
    first, second = await intake.arrivals()
    assert first.vault_key == second.vault_key
    assert first.arrival_id != second.arrival_id


async def test_unreadable_files_are_named_and_the_others_arrive(intake: Intake, boxes: Path) -> None:
    (boxes / "2b.eml").symlink_to(boxes / "nowhere")
    report = await import_path(boxes, intake.writer, project_id=intake.project)
    assert (report.found, report.arrived) == (206, 205)
    assert report.failed == [(str(boxes / "2b.eml"), "No such file or directory")]
    missing = await import_path(boxes / "no", intake.writer, project_id=intake.project)
    assert missing.failed == [(str(boxes / "no"), "No such file or directory")]


async def test_import_gives_up_when_nothing_is_kept_and_says_so(
    intake: Intake, boxes: Path, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GIVE_UP_AFTER", 70)
    monkeypatch.setattr(arrivals, "PUBLISH_ATTEMPTS", 1)
    gone = await Bus.connect(nats_url, name="gone")
    await gone.close()
    writer = ArrivalWriter(intake.vault, gone, SystemClock())
    report = await import_path(boxes, writer, project_id=intake.project)
    assert report.arrived == 0
    assert 70 <= len(report.failed) < 205
    assert "not tried" in report.aborted
    assert await intake.arrivals() == []


async def test_writer_refuses_what_no_subject_can_carry(intake: Intake) -> None:
    with pytest.raises(ValueError, match="subject token"):
        await intake.writer.accept(b"x", project_id="Not A Token", source="import")


async def test_mail_that_is_not_kept_is_transient(intake: Intake, nats_url: str) -> None:
    gone = await Bus.connect(nats_url, name="gone")
    await gone.close()
    with pytest.raises(NotKept) as caught:
        await ArrivalWriter(intake.vault, gone, SystemClock()).accept(b"x", project_id=intake.project, source="import")
    assert caught.value.transient
    assert "vault" in caught.value.kept
