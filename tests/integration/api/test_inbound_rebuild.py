"""Pieces of a mail become a mail: the same bytes each time, and nothing of a piece can pose as another."""

from __future__ import annotations

from collections import Counter
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.sources import webhook_bench as bench

from todoku.api.inbound.rebuild import rebuild
from todoku.mail.parse import parse_mail
from todoku.sources.webhook.mailgun import read_mailgun
from todoku.sources.webhook.postmark import read_postmark
from todoku.sources.webhook.sendgrid import read_sendgrid
from todoku.sources.webhook.types import Attached, Parts, Provider


def _sendgrid() -> Parts | None:
    return read_sendgrid(bench.sendgrid_pieces(), bench.place_for(Provider.SENDGRID, "p")).parts


def _postmark() -> Parts | None:
    return read_postmark(bench.postmark(None), bench.place_for(Provider.POSTMARK, "p")).parts


def _mailgun() -> Parts | None:
    return read_mailgun(bench.mailgun_pieces(), bench.place_for(Provider.MAILGUN, "p"), bench.NOW).parts


@pytest.mark.parametrize("make", [_sendgrid, _postmark, _mailgun])
def test_the_same_pieces_make_the_same_mail(make: object) -> None:
    one, two = make(), make()  # type: ignore[operator]
    assert rebuild(one) == rebuild(two)


def test_pieces_of_sendgrid() -> None:
    parts = _sendgrid()
    assert parts is not None
    raw = rebuild(parts)
    mail = message_from_bytes(raw, policy=default)
    assert raw.startswith(b"X-Todoku-Rebuilt: sendgrid\r\n")
    assert f"\r\nSubject: {bench.SUBJECT}\r\n".encode() in raw, "as it was, not encoded anew"
    assert mail["DKIM-Signature"].startswith("v=1")
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content() == "予約 12:00 髙橋様"
    (csv,) = mail.iter_attachments()
    assert (csv.get_filename(), csv.get_payload(decode=True)) == ("seats.csv", b"a,b\r\n\x00\xff")


def test_pieces_of_postmark() -> None:
    parts = _postmark()
    assert parts is not None
    mail = message_from_bytes(rebuild(parts), policy=default)
    assert mail["From"] == "通知 係 <notice@site.example>"
    assert mail["Subject"] == "予約のお知らせ"
    assert mail["Date"].datetime.isoformat() == "2026-11-21T12:00:00+09:00"
    assert mail["Return-Path"] is None
    assert mail["X-Injected"] is None
    assert mail["X-Odd"] == "one X-Injected: two"
    assert [part.get_filename() for part in mail.iter_attachments()] == ["席.csv"]


def test_pieces_of_mailgun() -> None:
    parts = _mailgun()
    assert parts is not None
    mail = message_from_bytes(rebuild(parts), policy=default)
    assert mail.get_content_type() == "multipart/mixed", "the old Content-Type is not that of the whole"
    logo = next(part for part in mail.walk() if part.get_content_type() == "image/png")
    assert logo["Content-ID"] == "<logo>"
    (pdf,) = mail.iter_attachments()
    assert pdf.get_content_type() == "application/pdf"


def test_our_own_reader_reads_it() -> None:
    parts = _postmark()
    assert parts is not None
    mail = parse_mail(rebuild(parts))
    assert (mail.subject, mail.text.strip(), mail.lossy_characters) == ("予約のお知らせ", "予約 12:00", 0)
    assert [one.filename for one in mail.attachments] == ["席.csv"]


@pytest.mark.parametrize(
    "end", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\x00"]
)
def test_no_value_begins_another_header(end: str) -> None:
    forged = f"a{end}X-Forged: b"
    odd = Attached(forged, f"text/plain{end}X-Forged: b", b"1", content_id=forged)
    raw = rebuild(Parts(Provider.MAILGUN, (("Subject", forged), (forged, "c")), attached=(odd,)))
    assert "x-forged" not in {name.lower() for part in message_from_bytes(raw).walk() for name in part}
    assert raw.count(b"X-Forged: b") >= 1, "what was said is still there, in its place"
    head = raw.partition(b"\r\n\r\n")[0]
    assert not any(line.startswith(b"X-Forged") for line in head.splitlines())


_TEXT = st.text(max_size=30)


@given(
    st.lists(st.tuples(_TEXT, _TEXT), max_size=4),
    st.none() | _TEXT,
    st.lists(st.builds(Attached, _TEXT, _TEXT, st.binary(max_size=30), _TEXT), max_size=2),
)
def test_whatever_the_pieces_are_they_stay_in_their_places(
    headers: list[tuple[str, str]], text: str | None, attached: list[Attached]
) -> None:
    parts = Parts(Provider.MAILGUN, tuple(headers), text=text, attached=tuple(attached))
    raw = rebuild(parts)
    assert raw == rebuild(parts)
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert rest
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in {b" ", b"\t"}]
    allowed = {name.lower().encode("utf-8", "replace") for name, _ in headers}
    assert set(names) <= allowed | {b"x-todoku-rebuilt", b"mime-version", b"content-type"}
    assert names.count(b"x-todoku-rebuilt") == 1
    found = [part.get_payload(decode=True) for part in message_from_bytes(raw).walk() if not part.is_multipart()]
    assert not Counter(one.content for one in attached) - Counter(one for one in found if isinstance(one, bytes))


@pytest.mark.parametrize("kind", ["message/rfc822", "multipart/mixed", "", "text", "text/plain\r\nX-A: b", "Ä/b"])
def test_an_attachment_of_an_odd_type_is_kept_octet_by_octet(kind: str) -> None:
    parts = Parts(Provider.MAILGUN, (), attached=(Attached("a\r\nX-A: b", kind, b"\xff\r\n--x"),))
    (found,) = message_from_bytes(rebuild(parts), policy=default).iter_attachments()
    assert found.get_payload(decode=True) == b"\xff\r\n--x"
    assert b"\r\nX-A:" not in rebuild(parts)
