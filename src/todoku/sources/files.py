"""Import mails that lie in files: `.eml`, folders, Maildir, mbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.errors import NotKept
from todoku.sources.mailbox_files import CutMail, FileKind, cut_file, find_files

log = structlog.get_logger(__name__)

SOURCE: Final = "import"
IN_FLIGHT: Final = 64
IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
GIVE_UP_AFTER: Final = 3 * IN_FLIGHT  # mails in a row that vault or bus did not take


@dataclass(slots=True)
class ImportReport:
    """found = arrived + len(failed) when it ran to its end; failed: (path or path#offset, why).

    aborted: why the import gave up before its end, "" when it did not.
    """

    found: int = 0
    arrived: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    aborted: str = ""


async def import_path(
    path: Path, writer: ArrivalWriter, *, project_id: str, progress: Callable[[int], object] | None = None
) -> ImportReport:
    """Hand over every mail below the path, byte for byte, many at a time; return what became of them.

    A file that can't be read, or a mail that was not kept, is named in the report and the next ones go on. Only when
    GIVE_UP_AFTER mails in a row were not kept, it stops and says so in `aborted`. progress: called with the number of
    mails that are done. Memory: at most 256 mails or 64 MB (one mail at least) at once. Importing again makes second
    Arrivals with the same vault keys, which the reader counts as `duplicate`. cursor of the Arrival: the path, with
    `#offset` for a mail of an mbox.
    """
    return await _Import(writer, project_id, progress).run(path)


class _Import:
    def __init__(self, writer: ArrivalWriter, project_id: str, progress: Callable[[int], object] | None) -> None:
        self._writer = writer
        self._project_id = project_id
        self._progress = progress
        self._report = ImportReport()
        self._not_kept_in_a_row = 0

    async def run(self, path: Path) -> ImportReport:
        mails = _cut_all(path)
        running: set[asyncio.Task[None]] = set()
        try:
            while batch := await asyncio.to_thread(_take, mails):
                for mail in batch:
                    if self._give_up():
                        return self._report
                    self._report.found += 1
                    if mail.problem:
                        self._fail(mail, mail.problem)
                        continue
                    task = asyncio.create_task(self._hand_over(mail))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    if len(running) >= IN_FLIGHT:
                        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if sum(len(mail.raw) for mail in batch) > IN_FLIGHT_BYTES // 2 and running:
                    await asyncio.wait(running)
        finally:
            if running:
                await asyncio.wait(running)
        log.info("import.done", found=self._report.found, arrived=self._report.arrived, failed=len(self._report.failed))
        return self._report

    async def _hand_over(self, mail: CutMail) -> None:
        try:
            await self._writer.accept(mail.raw, project_id=self._project_id, source=SOURCE, cursor=_name(mail))
        except NotKept as error:
            self._not_kept_in_a_row += 1
            self._fail(mail, error.what)
            return
        self._not_kept_in_a_row = 0
        self._report.arrived += 1
        self._tell()

    def _fail(self, mail: CutMail, why: str) -> None:
        self._report.failed.append((_name(mail), why))
        log.warning("import.failed", path=_name(mail), why=why)
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._report.arrived + len(self._report.failed))

    def _give_up(self) -> bool:
        if self._not_kept_in_a_row >= GIVE_UP_AFTER:
            self._report.aborted = f"the last {self._not_kept_in_a_row} mails were not kept; the rest was not tried"
        return bool(self._report.aborted)


def _cut_all(path: Path) -> Iterator[CutMail]:
    for file, problem in find_files(path):
        if problem:
            yield CutMail(file, FileKind.MAIL, 0, b"", problem)
        else:
            yield from cut_file(file)


def _take(mails: Iterator[CutMail]) -> list[CutMail]:
    """Return the next mails, up to IN_FLIGHT of them or half of IN_FLIGHT_BYTES."""
    batch: list[CutMail] = []
    size = 0
    for mail in islice(mails, IN_FLIGHT):
        batch.append(mail)
        size += len(mail.raw)
        if size > IN_FLIGHT_BYTES // 2:
            break
    return batch


def _name(mail: CutMail) -> str:
    return f"{mail.path}#{mail.offset}" if mail.kind is FileKind.MBOX else str(mail.path)
