"""One booking mail in ぐるなび's layout, and the words for what is wrong with it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from todoku.intake.types import MailState

WHEN, PARTY, NAME = "2026年11月28日(土) 18時30分", "2名", "髙橋 花子"
BOOKED: Mapping[str, object] = {"start": "2026-11-28T18:30:00+09:00", "party_size": 2, "name": "髙橋 花子"}
DATE = "Fri, 20 Nov 2026 12:00:00 +0900"


@dataclass(frozen=True)
class Case:
    """One torture mail. state: where it ends, APPLIED for one that the book takes; reason: its exact word.

    facts: what must have been read, by short names: start, end, party_size, name, kana, phone, course, issued_at.
    lossy: whether characters are lost, which must be counted.
    """

    name: str
    make: Callable[[], bytes]
    state: MailState = MailState.APPLIED
    reason: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    lossy: bool = False


def text(
    key: str,
    *,
    when: str = WHEN,
    party: str = PARTY,
    name: str = NAME,
    phone: str = "090-0000-0001",
    course: str = "冬の鍋コース",
) -> str:
    """Return the body; each key is another booking."""
    return (
        "届屋 銀座本店 様 (abcd001)\n\nネット予約が入りました。\n\n"
        f"［予約番号］ {reference(key)}\n［状態］ 確定済\n［来店日時］ {when}\n［来店人数］ {party}\n"
        f"［予約者名］ {name}様\n［電話番号］ {phone}\n［コース］\n{course}\n"
    )


def reference(key: str) -> str:
    """Return the number of the booking of a case."""
    return f"TB{zlib.crc32(key.encode()):010d}"


def mail(
    body: bytes,
    *,
    subject: bytes = "ネット予約のお知らせ".encode(),
    content_type: bytes = b"text/plain; charset=UTF-8",
    encoding: bytes = b"8bit",
    date: bytes = DATE.encode(),
    more: bytes = b"",
) -> bytes:
    """Return a mail of ぐるなび. more: header lines, each with its end; an empty argument leaves its header out."""
    head = b"From: plan-reserve@gnavi.co.jp\nTo: shop@in.todoku.example\n"
    for name, value in (
        (b"Subject", subject), (b"Date", date), (b"Content-Type", content_type),
        (b"Content-Transfer-Encoding", encoding),
    ):  # fmt: skip
        if value:
            head += name + b": " + value + b"\n"
    return head + more + b"\n" + body


def booking(key: str, **values: str) -> bytes:
    """Return the plainest booking mail of a key."""
    return mail(text(key, **values).encode())
