"""Cut files into mails without changing a byte: single mails, Maildir, mbox.

mbox: a mail begins at a line `From sender date` that stands at the start of the file or after an empty line and is
followed by a header line; anything else that begins with "From " is text. Lines quoted as `>From ` or `>>From ` lose
one `>` (mboxrd; for the older mboxo the same rule restores what its writers quoted). The empty line before the next
separator belongs to the file, not to the mail. Line ends stay as they are.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

MAX_MAIL_BYTES: Final = 64 * 1024 * 1024
_MAX_LINE_BYTES: Final = 1024 * 1024
_DAY: Final = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?"
_MONTH: Final = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_SEPARATOR = re.compile(  # `From a@b Thu Jan  1 00:00:00 1970`, zone before or after the year, or a date as in Date:
    rb"From .{0,500}?" + _DAY + rb" +(?:" + _MONTH + rb" +\d{1,2}|\d{1,2} +" + _MONTH + rb").{0,60}\d{4}.{0,30}\r?\n\Z"
)
_HEADER_LINE = re.compile(rb"[!-9;-~]+[ \t]*:|>From ")
_BEGINS_LIKE_MAIL = re.compile(rb"From |[!-9;-~]+[ \t]*:")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


class FileKind(StrEnum):
    """What a file holds."""

    MAIL = "mail"
    MBOX = "mbox"


@dataclass(frozen=True, slots=True)
class CutMail:
    """One mail of a file. offset: where it begins in the file. problem: why raw could not be read, "" when it could."""

    path: Path
    kind: FileKind
    offset: int
    raw: bytes
    problem: str = ""


def find_files(path: Path) -> Iterator[tuple[Path, str]]:
    """Give each file below the path that may hold mail, in a fixed order, with a problem when it can't be looked at.

    A file named itself is taken whatever its name. In folders: `.eml`, `.mbox`, `.mbx`, everything in `cur` and `new`
    of a Maildir, and files without a suffix that begin like a mail or an mbox. Links to folders are not followed,
    other files are left out.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield path, _reason(error)
        return
    if not stat.S_ISDIR(mode):
        yield path, "" if stat.S_ISREG(mode) else "not a regular file"
        return
    problems: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        problems.append((Path(error.filename or path), _reason(error)))

    for folder, folders, names in os.walk(path, onerror=note):
        folders.sort()
        here = Path(folder)
        in_maildir = _is_maildir_part(here)
        if {"cur", "new", "tmp"} <= set(folders):
            folders.remove("tmp")  # mails that are still being delivered
        for name in sorted(names):
            yield from _look_at(here / name, in_maildir=in_maildir)
        while problems:
            yield problems.pop()
    yield from problems


def _is_maildir_part(folder: Path) -> bool:
    return folder.name in {"cur", "new"} and (folder.parent / "cur").is_dir() and (folder.parent / "new").is_dir()


def _look_at(file: Path, *, in_maildir: bool) -> Iterator[tuple[Path, str]]:
    if not in_maildir and (file.suffix.lower() not in {".eml", ".mbox", ".mbx", ""} or file.name.startswith(".")):
        return
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return
        if not in_maildir and not file.suffix:
            with file.open("rb") as opened:
                if not _BEGINS_LIKE_MAIL.match(opened.read(1_000)):
                    return
    except OSError as error:
        yield file, _reason(error)
        return
    yield file, ""


def cut_file(path: Path) -> Iterator[CutMail]:
    """Give the mails of one file in order. Never raises: what can't be read comes as a CutMail with a problem."""
    try:
        with path.open("rb") as file:
            if file.peek(5)[:5] == b"From ":
                yield from _cut_mbox(path, file)
                return
            raw = file.read(MAX_MAIL_BYTES + 1)
    except OSError as error:
        yield CutMail(path, FileKind.MAIL, 0, b"", _reason(error))
        return
    if not raw and path.suffix.lower() in {".mbox", ".mbx"}:
        return  # a mailbox without mail; any other empty file is an empty mail
    problem = _too_big(len(raw))
    yield CutMail(path, FileKind.MAIL, 0, b"" if problem else raw, problem)


def _cut_mbox(path: Path, file: BinaryIO) -> Iterator[CutMail]:
    try:
        for offset, raw in _split_mbox(file):
            problem = _too_big(len(raw))
            yield CutMail(path, FileKind.MBOX, offset, b"" if problem else _QUOTED_FROM.sub(rb"\1", raw), problem)
    except OSError as error:
        yield CutMail(path, FileKind.MBOX, file.tell(), b"", _reason(error))


def _split_mbox(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give (offset of the separator, raw mail); of a mail that is too big only enough to tell."""
    lines: list[bytes] = []
    size = 0
    start = 0
    position = len(file.readline(_MAX_LINE_BYTES))  # the first separator is taken as it is
    separator_at = -1  # where a line stands that will be a separator if a header follows it
    separator = b""
    after_empty_line = False
    while line := file.readline(_MAX_LINE_BYTES):
        if separator_at >= 0:
            if _HEADER_LINE.match(line):
                yield start, _without_last_empty_line(lines)
                lines, size, start = [], 0, separator_at
            elif size <= MAX_MAIL_BYTES:
                lines.append(separator)
                size += len(separator)
            separator_at = -1
        if after_empty_line and line.startswith(b"From ") and _SEPARATOR.match(line):
            separator_at, separator = position, line
        elif size <= MAX_MAIL_BYTES:
            lines.append(line)
            size += len(line)
        after_empty_line = line in {b"\n", b"\r\n"}
        position += len(line)
    if separator_at >= 0:
        lines.append(separator)
    yield start, _without_last_empty_line(lines)


def _without_last_empty_line(lines: list[bytes]) -> bytes:
    if len(lines) > 1 and lines[-1] in {b"\n", b"\r\n"}:
        lines.pop()
    return b"".join(lines)


def _too_big(size_bytes: int) -> str:
    return f"larger than {MAX_MAIL_BYTES // (1024 * 1024)} MB" if size_bytes > MAX_MAIL_BYTES else ""


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
