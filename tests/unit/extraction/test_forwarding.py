"""Mails passed on by hand (trap 9): what the site said is taken from inside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from todoku.extraction.forwarding import find_inner, without_quote_marks
from todoku.extraction.types import Event, NoticeKind, Outcome, Reading
from todoku.kernel.folding import fold_for_matching
from todoku.mail.types import Attachment

Read = Callable[..., Reading]
TOKYO = ZoneInfo("Asia/Tokyo")

BODY = (
    "届屋 銀座本店 様 (abcd001)\n\n［予約番号］ PL1\n［状態］ 確定済\n"
    "［来店日時］ 2026年11月30日(月) 18時30分\n［来店人数］ 2名\n"
    "［ご要望］ 窓側\n"
)
INNER = (
    b"From: plan-reserve@gnavi.co.jp\r\nDate: Fri, 20 Nov 2026 09:00:00 +0900\r\nSubject: x\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + BODY.encode()
)


@pytest.mark.parametrize(
    "head",
    [
        (
            "---------- Forwarded message ---------\n"
            "From: ぐるなび <plan-reserve@gnavi.co.jp>\n"
            "Date: Fri, 20 Nov 2026 09:00:00 +0900\n"
            "Subject: 予約内容を変更しました\nTo: <a@example.com>\n"
        ),
        (
            "Begin forwarded message:\n\n"
            "From: plan-reserve@gnavi.co.jp\n"
            "Subject: 予約内容を変更しました\n"
            "Date: Fri, 20 Nov 2026 09:00:00 +0900\n"
        ),
        (
            "-----元のメッセージ-----\n"
            "差出人: ぐるなび <plan-reserve@gnavi.co.jp>\n"
            "送信日時: Fri, 20 Nov 2026 09:00:00 +0900\n"
            "宛先: a@example.com\n件名: 予約内容を変更しました\n"
        ),
        (
            "-----Original Message-----\n"
            "From: plan-reserve@gnavi.co.jp [mailto:plan-reserve@gnavi.co.jp]\n"
            "Sent: Fri, 20 Nov 2026 09:00:00 +0900\n"
            "Subject: 予約内容を変更しました\n"
        ),
        (  # Outlook and its telephone program write a line and no words, Thunderbird begins with the subject
            "________________________________\n"
            "差出人: ぐるなび <plan-reserve@gnavi.co.jp>\n"
            "送信日時: Fri, 20 Nov 2026 09:00:00 +0900\n"
            "宛先: 届屋 <a@example.com>\nCc: b@example.com\n件名: 予約内容を変更しました\n"
        ),
        (
            "From: ぐるなび <plan-reserve@gnavi.co.jp>\n"
            "Sent: Fri, 20 Nov 2026 09:00:00 +0900\n"
            "To: a@example.com\nSubject: 予約内容を変更しました\n"
        ),
        (
            "件名：予約内容を変更しました\n"
            "日付：Fri, 20 Nov 2026 09:00:00 +0900\n"
            "差出人：ぐるなび <plan-reserve@gnavi.co.jp>\n"
            "宛先：a@example.com\n"
        ),
        (
            "*From:* ぐるなび <plan-reserve@gnavi.co.jp>\n"
            "*Date:* Fri, 20 Nov 2026 09:00:00 +0900\n"
            "*To:* a@example.com\n*Subject:* 予約内容を変更しました\n"
        ),
        (
            "--------------- Original message follows ---------------\n"
            "Subject: 予約内容を変更しました\n"
            "From: plan-reserve@gnavi.co.jp\n"
            "Date: Fri, 20 Nov 2026 09:00:00 +0900\n"
        ),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_the_header_block_of_a_forwarded_mail_counts(read: Read, head: str, quoted: bool) -> None:
    text = "お願いします\n\n" + "\n".join(
        (f"> {line}".rstrip() if quoted else line) for line in f"{head}\n{BODY}".split("\n")
    )
    reading = read(text, subject="FW: ", sender="tencho@example.com")
    facts = reading.facts
    assert facts is not None, reading.problem
    assert (reading.site, facts.event, facts.reference, facts.requests) == ("gnavi", Event.CHANGED, "PL1", "窓側")
    assert (facts.shop, facts.shop_code) == ("届屋 銀座本店", "abcd001")
    assert reading.issued_at == datetime(2026, 11, 20, 9, tzinfo=TOKYO)
    for item in reading.evidence:
        if item.field == "reference":
            assert reading.text[item.start : item.end] == "PL1"


@pytest.mark.parametrize(
    "lines",
    [
        "差出人: 店長\n件名: 予約内容\n日付: Fri, 20 Nov 2026 09:00:00 +0900\n",  # no address
        "From: plan-reserve@gnavi.co.jp\n\nSubject: x\nDate: Fri, 20 Nov 2026 09:00:00 +0900\n",  # not together
        "From: plan-reserve@gnavi.co.jp\nSubject: 予約\n",  # no date
    ],
)
def test_lines_that_only_look_like_a_header_are_no_forwarded_mail(lines: str) -> None:
    assert find_inner(lines, fold_for_matching(lines)) is None


def test_a_forwarded_date_without_an_offset_is_passed_over(read: Read) -> None:
    head = "---------- Forwarded message ---------\nFrom: <plan-reserve@gnavi.co.jp>\nDate: 2026年11月19日(木) 9:00\n"
    reading = read(f"{head}\n{BODY}", sender="tencho@example.com", date=datetime(2026, 11, 20, 1, tzinfo=UTC))
    assert reading.issued_at == datetime(2026, 11, 20, 1, tzinfo=UTC)


@pytest.mark.parametrize("part", [("message/rfc822", ""), ("application/octet-stream", "通知.EML")])
def test_a_mail_attached_whole_is_read_from_the_attachment(read: Read, part: tuple[str, str]) -> None:
    attached = Attachment(part[1], part[0], INNER)
    reading = read("ご確認ください", subject="転送", sender="tencho@example.com", attachments=(attached,))
    assert (reading.site, reading.outcome) == ("gnavi", Outcome.RESERVATION)
    assert reading.issued_at == datetime(2026, 11, 20, 9, tzinfo=TOKYO)
    assert reading.text.startswith("届屋 銀座本店")


def test_a_broken_attachment_leaves_the_mail_itself(read: Read) -> None:
    attachments = (Attachment("", "message/rfc822", b""), Attachment("", "message/rfc822", b"\x00\x00"))
    reading = read("ご確認ください", sender="tencho@example.com", attachments=attachments)
    assert (reading.outcome, reading.notice, reading.site) == (Outcome.NOT_A_RESERVATION, NoticeKind.OTHER, None)


def test_a_mail_that_only_talks_about_a_site_is_of_no_site(read: Read) -> None:
    reading = read("食べログの予約について教えてください。来店時刻は?", subject="質問", sender="guest@example.com")
    assert (reading.outcome, reading.notice, reading.site) == (Outcome.NOT_A_RESERVATION, NoticeKind.OTHER, None)


def test_the_confirmation_of_gmail_forwarding_is_named(read: Read) -> None:
    reading = read("確認コード 1", sender="forwarding-noreply@google.com")
    assert reading.notice is NoticeKind.FORWARDING_CONFIRMATION


def test_quote_marks_become_blanks_and_move_nothing() -> None:
    quoted = "こんにちは\n> ［状態］ 確定済\n>> 深い\n>\n> おわり\n"
    assert len(without_quote_marks(quoted)) == len(quoted)
    assert ">" not in without_quote_marks(quoted)
    assert without_quote_marks("一行\n二行\n三行\n> 引用\n") == "一行\n二行\n三行\n> 引用\n"


def test_a_header_block_of_thousands_of_lines_is_cut() -> None:
    text = "---------- Forwarded message ---------\n" + "Subject: x\n" * 5_000
    inner = find_inner(text, fold_for_matching(text))
    assert inner is not None
    assert inner.begin < 400
