"""Input made to hurt takes bounded time and ends in its named state."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest

from todoku.extraction import read_mail
from todoku.extraction.types import Outcome
from todoku.mail.errors import Unreadable

RECEIVED = datetime(2026, 11, 21, tzinfo=UTC)
MOST_SECONDS = 5.0
"""Reading 2 MB takes 0.1 to 0.4 s here; a pattern that goes back over its text would take minutes."""

TWO_MEGABYTES = 2_000_000


def mail(sender: str, subject: str, body: str, kind: str = "text/plain") -> bytes:
    word = base64.b64encode(subject.encode()).decode()
    head = f"From: {sender}\r\nSubject: =?utf-8?B?{word}?=\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n"
    return head.encode() + body.encode()


def filled(piece: str) -> str:
    return piece * (TWO_MEGABYTES // len(piece.encode()))


PIECES = [
    "あ", " ", "　", "\n", "■", "■人数：", "■人数：1\n", "［予約番号］ PL1\n", "日付 ：", "(", "（", "1 ",
    "→", "> ", ">\n",
    "-----\n", "- ", "【変更前】\n", "【変更後】\n■人数：1\n", "https://owner.tabelog.com/tn/time-schedule/", "様\n",
    "様 (", "---------- Forwarded message ---------\n", "Subject: x\n", "8月3日", "18:", "大人1人 ",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES, ids=repr)
@pytest.mark.parametrize(
    "sender", ["info@mail.tabelog.com", "jp_kanri@hotpepper.jp", "plan-reserve@gnavi.co.jp", "x@example.com"]
)
def test_two_megabytes_of_anything(sender: str, piece: str) -> None:
    subject = {"info@mail.tabelog.com": "【予約変更】", "jp_kanri@hotpepper.jp": "変更処理完了"}.get(
        sender, "予約内容を変更しました"
    )
    began = time.perf_counter()
    reading = read_mail(mail(sender, subject, filled(piece)), received_at=RECEIVED)
    assert time.perf_counter() - began < MOST_SECONDS
    assert reading.outcome in (Outcome.UNKNOWN_LAYOUT, Outcome.NOT_A_RESERVATION)


@pytest.mark.parametrize(
    "field", ["■人数：", "■来店日時：", "■代表者：", "■予約依頼番号：", "■コース：", "■席情報：", "■ご要望："]
)
@pytest.mark.parametrize("piece", ["(", "1", " 1", "（", "様", "8月3日", "18:30~", "大人1人 ", "　"])
def test_one_value_of_a_megabyte(field: str, piece: str) -> None:
    body = f"■予約依頼番号：HP1\n■来店日時：2026年11月30日(月) 18:30\n{field}{piece * 300_000}\n"
    began = time.perf_counter()
    read_mail(mail("jp_kanri@hotpepper.jp", "【即予約】佐藤様の申し込み", body), received_at=RECEIVED)
    assert time.perf_counter() - began < MOST_SECONDS


@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<b itemscope>",
        "<table><tr><td>",
        "<!--",
        "{",
        "[",
        '{"@type":',
        "&quot;",
        "schema.org ",
        '<script type="application/ld+json">',
        " ,",
    ],
)
def test_two_megabytes_of_markup(piece: str) -> None:
    head = (
        '<html><script type="application/ld+json">FoodEstablishmentReservation http://schema.org '
        if piece in "{["
        else "<html>http://schema.org "
    )
    began = time.perf_counter()
    read_mail(mail("x@example.com", "x", head + filled(piece), "text/html"), received_at=RECEIVED)
    assert time.perf_counter() - began < MOST_SECONDS


@pytest.mark.parametrize("raw", [b"", b"\x00" * 1000, b"\r\n\r\n", bytes(range(256)) * 50])
def test_rubbish_is_unreadable_or_no_reservation(raw: bytes) -> None:
    try:
        outcome = read_mail(raw, received_at=RECEIVED).outcome
    except Unreadable:
        outcome = Outcome.NOT_A_RESERVATION
    assert outcome is Outcome.NOT_A_RESERVATION
