"""Files are cut into mails without changing a byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from todoku.sources import mailbox_files
from todoku.sources.mailbox_files import cut_file, find_files

FROM = b"From shop@site.example Thu Jan  1 00:00:00 2026\n"
ONE = b"From: a@site.example\nSubject: one\n\nbody one\n"
TWO = b"Subject: two\n\n\x1b$BM=Ls\x1b(B\x00\xff\n"


def cut(tmp_path: Path, content: bytes, name: str = "box.mbox") -> list[bytes]:
    path = tmp_path / name
    path.write_bytes(content)
    mails = list(cut_file(path))
    assert [mail.problem for mail in mails] == [""] * len(mails)
    return [mail.raw for mail in mails]


def test_mbox_is_cut_at_its_separators(tmp_path: Path) -> None:
    assert cut(tmp_path, FROM + ONE + b"\n" + FROM + TWO + b"\n") == [ONE, TWO]


def test_offsets_lead_to_the_separators(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(FROM + ONE + b"\n" + FROM + TWO + b"\n")
    assert [mail.offset for mail in cut_file(path)] == [0, len(FROM + ONE) + 1]


@pytest.mark.parametrize(
    "separator",
    [
        b"From shop@site.example Thu Jan  1 00:00:00 2026\r\n",
        b"From - Sat Jan 03 01:05:34 2026\n",
        b"From 1234567890@xxx Sat Jan 03 01:05:34 +0000 2026\n",
        b"From MAILER-DAEMON Fri Jan  2 09:00:00 JST 2026\n",
        b'From "odd name"@site.example Fri Jan  2 09:00:00 2026 +0900\n',
        b"From shop@site.example Fri, 2 Jan 2026 09:00:00 +0900\n",
    ],
)
def test_separators_of_many_writers_are_known(tmp_path: Path, separator: bytes) -> None:
    assert cut(tmp_path, FROM + ONE + b"\n" + separator + TWO) == [ONE, TWO]


@pytest.mark.parametrize(
    "text",
    [
        b"From 18:00 to 20:00 the room is yours\nName: T\n",
        b"From the shop on Thu Jan  1, with thanks\nName: T\n",
        FROM + b"this is a quoted separator, no header follows\n",
        FROM,
        b"From\n",
    ],
)
def test_text_that_begins_with_from_is_text(tmp_path: Path, text: bytes) -> None:
    whole = ONE + b"\n" + text + b"the end\n"
    assert cut(tmp_path, FROM + whole + b"\n" + FROM + TWO) == [whole, TWO]


def test_separator_at_the_very_end_is_text(tmp_path: Path) -> None:
    assert cut(tmp_path, FROM + ONE + b"\n" + FROM) == [ONE + b"\n" + FROM]


def test_separator_without_an_empty_line_before_it_is_text(tmp_path: Path) -> None:
    assert cut(tmp_path, FROM + ONE + FROM + TWO) == [ONE + FROM + TWO]


def test_quoted_from_lines_lose_one_sign(tmp_path: Path) -> None:
    assert cut(tmp_path, FROM + ONE + b">From me\n>>From you\n> From none\n") == [
        ONE + b"From me\n>From you\n> From none\n"
    ]


def test_line_ends_and_missing_last_line_end_stay(tmp_path: Path) -> None:
    crlf = ONE.replace(b"\n", b"\r\n")
    separator = FROM.replace(b"\n", b"\r\n")
    assert cut(tmp_path, separator + crlf + b"\r\n" + separator + b"Subject: x\r\n\r\nno end") == [
        crlf,
        b"Subject: x\r\n\r\nno end",
    ]


def test_first_separator_needs_no_date(tmp_path: Path) -> None:
    assert cut(tmp_path, b"From nobody\n" + ONE) == [ONE]


def test_single_mail_is_taken_whole(tmp_path: Path) -> None:
    odd = b"\x00From: x\r\n.\r\n>From y\n" + bytes(range(256))
    assert cut(tmp_path, odd, "one.eml") == [odd]
    assert cut(tmp_path, b"", "empty.eml") == [b""]
    assert cut(tmp_path, b"", "empty.mbox") == []


def test_very_long_lines_are_cut_nowhere(tmp_path: Path) -> None:
    long = b"X: " + b"y" * 3_000_000 + b"\n\nz\n"
    assert cut(tmp_path, FROM + ONE + b"\n" + FROM + long) == [ONE, long]


def test_too_big_a_mail_is_named_and_the_next_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_files, "MAX_MAIL_BYTES", 100)
    path = tmp_path / "box"
    path.write_bytes(FROM + ONE + b"x" * 60 + b"\n" + b"y\n" * 60 + b"\n" + FROM + TWO)
    assert [(mail.raw, bool(mail.problem)) for mail in cut_file(path)] == [(b"", True), (TWO, False)]


def test_folder_gives_mails_of_every_kind_and_leaves_the_rest(tmp_path: Path) -> None:
    for name in ("inbox/cur", "inbox/new", "inbox/tmp", "deep/er"):
        (tmp_path / name).mkdir(parents=True)
    taken = ["a.eml", "B.EML", "deep/er/c.mbox", "inbox/cur/1.x:2,S", "inbox/new/2.y", "Sent"]
    for name in taken:
        (tmp_path / name).write_bytes(FROM + ONE if name == "Sent" else ONE)
    for name in ("notes.txt", "Sent.msf", "Makefile", ".hidden", "inbox/tmp/3.z", "inbox/dovecot-uidlist"):
        (tmp_path / name).write_bytes(b"3 V1 N4\n")
    os.mkfifo(tmp_path / "pipe.eml")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = list(find_files(tmp_path))
    assert {str(path.relative_to(tmp_path)) for path, _ in found} == set(taken)
    assert [problem for _, problem in found] == [""] * len(taken)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone.eml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "fine.eml").write_bytes(ONE)
    found = {path.name: problem for path, problem in find_files(tmp_path)}
    assert found == {"fine.eml": "", "gone.eml": "No such file or directory"}
    assert list(find_files(tmp_path / "missing")) == [(tmp_path / "missing", "No such file or directory")]
    assert [mail.problem for mail in cut_file(tmp_path / "missing")] == ["No such file or directory"]
    os.mkfifo(tmp_path / "pipe")
    assert list(find_files(tmp_path / "pipe")) == [(tmp_path / "pipe", "not a regular file")]
