"""A Maildir with the mail server that fills it in hand."""

from __future__ import annotations

import itertools
from pathlib import Path

from todoku.kernel.clock import SystemClock
from todoku.sources.maildir import MaildirSource

_NUMBERS = itertools.count()  # of all benches: a name is never given twice


class MaildirBench:
    """A folder, filled as mail servers do it: written into `tmp`, renamed into `new`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("new", "cur", "tmp"):
            (folder / part).mkdir(parents=True)

    def open(self) -> MaildirSource:
        return MaildirSource(self.folder, SystemClock())

    async def deliver(self, raw: bytes) -> None:
        self.put(f"1790000000.M{next(_NUMBERS)}P1.host", raw)

    def put(self, name: str, raw: bytes, part: str = "new") -> Path:
        (self.folder / "tmp" / name).write_bytes(raw)
        return (self.folder / "tmp" / name).rename(self.folder / part / name)

    async def remove_all(self) -> None:
        for part in ("new", "cur"):
            for file in (self.folder / part).iterdir():
                file.unlink()

    async def break_off(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    async def restore(self) -> None:
        self.folder.with_name("away").rename(self.folder)
