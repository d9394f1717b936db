"""Every sample says the same when a person or a list passed it on, whatever mail program they use (trap 9)."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage

import pytest

from todoku.extraction import as_json, read_mail, sample_mails
from todoku.extraction.types import Reading
from todoku.mail.errors import Unreadable
from todoku.mail.parse import parse_mail
from todoku.mail.types import ParsedMail

RECEIVED = datetime(2026, 11, 21, tzinfo=UTC)
NOT_OF_THE_SITE = {"file", "issued_at", "lossy_characters"}
PERSON = "店長 <tencho@example.com>"


def _mail(subject: str, text: str, kind: str = "plain", sender: str = PERSON) -> bytes:
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = sender
    mail["To"] = "abc@in.todoku.example"
    mail["Subject"] = subject
    mail["Date"] = "Sat, 21 Nov 2026 10:00:00 +0900"
    mail.set_content(text, subtype=kind, charset="utf-8", cte="base64")
    return mail.as_bytes()


def _sender(mail: ParsedMail) -> str:
    return f"{mail.sender.name or 'site'} <{mail.sender.address}>"


def _day(mail: ParsedMail) -> str:
    return f"{mail.date:%Y年%m月%d日 %H:%M}" if mail.date else "2026年11月20日 12:00"


def _full(mail: ParsedMail) -> str:
    return f"{mail.date:%a, %d %b %Y %H:%M:%S %z}" if mail.date else "Fri, 20 Nov 2026 12:00:00 +0900"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def _as_html(text: str) -> str:
    return "<br>\n".join(html.escape(line) for line in text.split("\n"))


def gmail(mail: ParsedMail) -> bytes:
    block = f"From: {_sender(mail)}\nDate: {_day(mail)}\nSubject: {mail.subject}\nTo: <shop@example.com>\n"
    return _mail(f"Fwd: {mail.subject}", f"---------- Forwarded message ---------\n{block}\n\n{mail.text}")


def gmail_html(mail: ParsedMail) -> bytes:
    address = mail.sender.address
    block = (
        "---------- Forwarded message ---------<br>差出人: <b>site</b> <span>&lt;"
        f'<a href="mailto:{address}">{address}</a>&gt;</span><br>Date: {_day(mail)}<br>'
        f"Subject: {html.escape(mail.subject)}<br>To: &lt;shop@example.com&gt;<br>"
    )
    return _mail(f"Fwd: {mail.subject}", f"<div>{block}<br><br>{_as_html(mail.text)}</div>", "html")


def outlook(mail: ParsedMail) -> bytes:
    block = f"差出人: {_sender(mail)}\n送信日時: {_day(mail)}\n宛先: 店 <shop@example.com>\n件名: {mail.subject}\n"
    return _mail(f"FW: {mail.subject}", f"お願いします。\n\n________________________________\n{block}\n{mail.text}")


def outlook_english(mail: ParsedMail) -> bytes:
    block = f"From: {_sender(mail)}\nSent: Friday, November 20, 2026 6:03 PM\nTo: shop@example.com\n"
    return _mail(f"FW: {mail.subject}", f"{block}Subject: {mail.subject}\n\n{mail.text}")


def outlook_html(mail: ParsedMail) -> bytes:
    block = (
        f'<p class="MsoNormal"><b>From:</b> {html.escape(_sender(mail))} <br><b>Sent:</b> Friday, November 20, 2026 '
        f"6:03 PM<br><b>To:</b> shop@example.com<br><b>Subject:</b> {html.escape(mail.subject)}</p>"
    )
    page = f"<html><body><p>確認お願いします</p><div>{block}</div><p>{_as_html(mail.text)}</p></body></html>"
    return _mail(f"FW: {mail.subject}", page, "html")


def apple_mail(mail: ParsedMail) -> bytes:
    block = f"From: {_sender(mail)}\nSubject: {mail.subject}\nDate: {_full(mail)}\nTo: shop@example.com\n\n"
    return _mail(f"Fwd: {mail.subject}", f"\n\nBegin forwarded message:\n\n{_quoted(block + mail.text)}")


def telephone(mail: ParsedMail) -> bytes:
    block = f"差出人: {_sender(mail)}\n日時: {_day(mail)}\n宛先: shop@example.com\n件名: {mail.subject}\n\n"
    return _mail(f"Fwd: {mail.subject}", f"iPhoneから送信\n\n転送されたメッセージ:\n\n{block}{mail.text}")


def thunderbird(mail: ParsedMail) -> bytes:
    block = f"件名: {mail.subject}\n日付: {_full(mail)}\n差出人: {_sender(mail)}\n宛先: shop@example.com\n\n\n\n"
    return _mail(f"Fwd: {mail.subject}", f"\n-------- Forwarded Message --------\n{block}{mail.text}")


def mailing_list(mail: ParsedMail) -> bytes:
    footer = "\n\n-- \nこのメールはグループ「shop-list」の登録者に送られています。\nhttps://groups.example.com/d/abc\n"
    sender = '"site via shop-list" <shop-list@example.com>'
    return _mail(f"[shop-list:00123] {mail.subject}", mail.text + footer, sender=sender)


def quoted_answer(mail: ParsedMail) -> bytes:
    return _mail(f"Re: {mail.subject}", f"了解です\n\n{_day(mail)} {_sender(mail)}:\n{_quoted(mail.text)}")


WAYS: list[Callable[[ParsedMail], bytes]] = [
    *(gmail, gmail_html, outlook, outlook_english, outlook_html),
    *(apple_mail, telephone, thunderbird, mailing_list, quoted_answer),
]


def _sent_by_a_site() -> list[tuple[str, ParsedMail, Reading]]:
    """Return the samples that a site sent itself and that state a reservation in their text."""
    found = []
    for site, name, raw in sample_mails():
        try:
            mail, reading = parse_mail(raw), read_mail(raw, received_at=RECEIVED)
        except Unreadable:
            continue
        passed_on = mail.attachments or "orwarded" in mail.text or mail.sender.address.endswith("@example.com")
        if reading.facts is not None and site != "schema-org" and not passed_on:
            found.append((name, mail, reading))
    return found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_mail_that_was_passed_on_says_what_the_site_said(way: Callable[[ParsedMail], bytes]) -> None:
    told = _sent_by_a_site()
    assert len(told) >= 50
    differing = {}
    for name, mail, reading in told:
        wanted = as_json("", reading)
        got = as_json("", read_mail(way(mail), received_at=RECEIVED))
        odd = {key: (wanted[key], got[key]) for key in wanted.keys() - NOT_OF_THE_SITE if wanted[key] != got[key]}
        if odd:
            differing[name] = odd
    assert differing == {}
