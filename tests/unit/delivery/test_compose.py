"""Composed messages, read back by the standard library and by fast-mail-parser: two judges who know nothing of us."""

from __future__ import annotations

import email
import email.header
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import fast_mail_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.kernel.addresses import UnsafeHeaderError
from todoku.mail.compose import (
    Composer,
    MessageParts,
    SenderIdentity,
    UnsafeAddress,
    body_octets,
    encoded_words,
    header_address,
)
from todoku.mail.filled_bodies import LONGEST_LINE_OCTETS, BodyLayout, FilledBodies

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
KEY = "0198f0aabbcc.3.17"
printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=80)
bodies = st.text(st.characters(exclude_categories=["Cs"]), max_size=1_500)


def composer(*, eight_bit: bool = False, name: str = "炭火とどく 渋谷店") -> Composer:
    identity = SenderIdentity(name, "shop@todoku.example", "contact@todoku.example", "todoku.example")
    return Composer(identity, run_key="0198f0aabbcc", feedback_id="run:shop:campaign:todoku", eight_bit=eight_bit)


def parts(**changes: Any) -> MessageParts:
    values: dict[str, Any] = {
        "to_name": "見本 太郎",
        "to_address": "taro@example.com",
        "subject": "秋のご案内",
        "html": "<p>こんにちは</p>\n",
        "text": "こんにちは\n",
        "key": KEY,
        "unsubscribe_url": "https://todoku.example/u/abc",
    }
    return MessageParts(**(values | changes))


def read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert not message.defects
    for part in message.walk():
        assert not part.defects, part.defects
        for name, value in part.items():
            assert not getattr(value, "defects", ()), (name, value.defects)
    return message


def body_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def as_sent(text: str) -> str:
    """Return what a body becomes on the way: LF line ends, no control characters, no lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(letter for letter in text if letter in "\n\t" or ord(letter) >= 32)


def check_lines(raw: bytes) -> None:
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= LONGEST_LINE_OCTETS
    assert not any(b"\r" in line or b"\n" in line for line in lines), "a bare CR or LF"


def test_every_header_says_what_it_should() -> None:
    message = read(composer().compose(parts(), NOON))
    assert message["From"] == "炭火とどく 渋谷店 <shop@todoku.example>"
    assert message["To"] == "見本 太郎 <taro@example.com>"
    assert message["Reply-To"] == "contact@todoku.example"
    assert message["Subject"] == "秋のご案内"
    assert message["Date"].datetime == NOON
    assert message["Message-ID"] == f"<{KEY}@todoku.example>"
    assert message["X-Todoku-Recipient"] == KEY
    assert message["List-Unsubscribe"] == "<https://todoku.example/u/abc>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Feedback-ID"] == "run:shop:campaign:todoku"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_another_reader_sees_the_same() -> None:
    mail = fast_mail_parser.parse_email(composer().compose(parts(), NOON))
    assert mail.subject == "秋のご案内"
    assert [body.strip() for body in mail.text_plain] == ["こんにちは"]
    assert [body.strip() for body in mail.text_html] == ["<p>こんにちは</p>"]


@settings(max_examples=60, deadline=None)
@given(printable, printable, bodies, bodies, st.booleans())
def test_whatever_the_words_the_message_is_sound(
    name: str, subject: str, text: str, html: str, eight_bit: bool
) -> None:
    raw = composer(eight_bit=eight_bit).compose(parts(to_name=name, subject=subject, text=text, html=html), NOON)
    check_lines(raw)
    message = read(raw)
    assert " ".join(message["Subject"].split()) == " ".join(subject.split())
    assert message["To"].addresses[0].addr_spec == "taro@example.com"
    # the policy of Python 3.11 leaves a blank between two encoded-words of a phrase; decode_header does it right
    phrase = str(email.message_from_bytes(raw)["To"]).rpartition("<")[0].strip()
    if phrase.startswith("=?"):
        assert str(email.header.make_header(email.header.decode_header(phrase))) == name
    else:
        assert " ".join(message["To"].addresses[0].display_name.split()) == " ".join(name.split())
    assert body_of(message, "plain") == as_sent(text)
    assert body_of(message, "html") == as_sent(html)
    if not eight_bit:
        assert raw.isascii()


@pytest.mark.parametrize(
    "body", ["x" * 5_000, "山" * 5_000, ("y" * 998 + "\n") * 3, ("z" * 999 + "\n") * 3, "é" + "a" * 3_000 + "\n.\n..\n"]
)
@pytest.mark.parametrize("eight_bit", [False, True])
def test_no_line_is_longer_than_the_rfc_allows(body: str, eight_bit: bool) -> None:
    raw = composer(eight_bit=eight_bit).compose(parts(html=body, text=body), NOON)
    check_lines(raw)
    assert body_of(read(raw), "html") == body


LITERALS = st.lists(
    st.sampled_from(["", "a", "山", ".", "\n", "\n.", "x" * 990, "é" * 490, "=", "--=_0198f0", "aabbcc"]).map(
        body_octets
    )
    | st.text("a.é\n =_", max_size=20).map(body_octets),
    min_size=1,
    max_size=6,
)
HOLE = st.sampled_from([b"", b"a", b".", "山".encode(), b"x" * 300, b"_0198f0aabbcc", b"0198f0aabbcc"])


@settings(max_examples=150, deadline=None)
@given(LITERALS, LITERALS, st.data(), st.booleans())
def test_filled_bodies_are_composed_like_any_other(
    text: list[bytes], html: list[bytes], data: st.DataObject, eight_bit: bool
) -> None:
    holes = st.lists(HOLE, min_size=len(text) + len(html) - 2, max_size=len(text) + len(html) - 2)
    layout, me = BodyLayout(tuple(text), tuple(html)), composer(eight_bit=eight_bit)
    for _ in range(3):
        bodies = FilledBodies(layout, tuple(data.draw(holes)))
        bodies = bodies._replace(dot_lines=any(b"\n." in b"\n" + body for body in (bodies.text(), bodies.html())))
        content, dot_lines = me.compose_filled(parts(html="", text=""), bodies, NOON)
        assert content == me.compose(parts(text=bodies.text(), html=bodies.html()), NOON)
        assert dot_lines or b"\n." not in content


def test_a_line_that_holes_fill_to_the_brim_is_not_encoded() -> None:
    layout, me = BodyLayout((b"x" * 500 + b"\r\n", b"\r\n"), (b"x" * 990, b"\r\n" + b"y" * 10, b"")), composer()
    for room, encoding in ((8, "7bit"), (9, "quoted-printable")):
        bodies = FilledBodies(layout, (b"z" * 900, b"z" * room, b"z" * 900))
        message = read(me.compose_filled(parts(html="", text=""), bodies, NOON)[0])
        assert [part["Content-Transfer-Encoding"] for part in message.iter_parts()] == ["7bit", encoding]


def test_a_body_that_contains_the_boundary_can_not_end_it() -> None:
    body = "before\n--=_0198f0aabbcc--\nafter\n"
    assert body_of(read(composer().compose(parts(text=body), NOON)), "plain") == body


def test_japanese_text_is_base64_and_mostly_ascii_text_stays_readable() -> None:
    raw = composer().compose(parts(text="plain words only\n", html="<p>" + "mostly ascii " * 20 + "é</p>\n"), NOON)
    kinds = [part["Content-Transfer-Encoding"] for part in read(raw).iter_parts()]
    assert kinds == ["7bit", "quoted-printable"]
    raw = composer(eight_bit=True).compose(parts(), NOON)
    assert [part["Content-Transfer-Encoding"] for part in read(raw).iter_parts()] == ["8bit", "8bit"]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200), st.integers(0, 40))
def test_encoded_words_are_short_and_split_no_character(text: str, column: int) -> None:
    folded = encoded_words(text, column)
    lines = folded.split("\r\n ")
    assert all(len(line) <= 75 for line in lines)
    assert column + len(lines[0]) <= 78
    decoded = str(email.header.make_header(email.header.decode_header(folded)))
    assert decoded == text
    for line in lines:
        email.header.make_header(email.header.decode_header(line))  # each word is whole UTF-8


@pytest.mark.parametrize("breaker", ["\r", "\n", "\0", "\r\nBcc: victim@example.com"])
@pytest.mark.parametrize("field", ["to_name", "to_address", "subject", "unsubscribe_url"])
def test_nothing_breaks_out_of_a_header(field: str, breaker: str) -> None:
    with pytest.raises(UnsafeHeaderError):
        composer().compose(parts(**{field: f"a{breaker}b"}), NOON)


@pytest.mark.parametrize("breaker", ["\r", "\n", "\0"])
def test_nor_does_the_sender(breaker: str) -> None:
    with pytest.raises(UnsafeHeaderError):
        composer(name=f"a{breaker}b")


@pytest.mark.parametrize(
    "url", ["https://x.example/>, <mailto:a@b.example", "https://x.example/a b", "https://x.example/山"]
)
def test_an_unsubscribe_link_can_not_add_another(url: str) -> None:
    with pytest.raises(UnsafeHeaderError):
        composer().compose(parts(unsubscribe_url=url), NOON)


def test_one_click_is_promised_over_https_only() -> None:
    message = read(composer().compose(parts(unsubscribe_url="http://127.0.0.1:8090/u/abc"), NOON))
    assert message["List-Unsubscribe"] == "<http://127.0.0.1:8090/u/abc>"
    assert message["List-Unsubscribe-Post"] is None
    assert read(composer().compose(parts(unsubscribe_url=""), NOON))["List-Unsubscribe"] is None


def test_a_long_unsubscribe_link_is_folded_and_whole() -> None:
    url = "https://todoku.example/u/" + "k" * 600
    assert "".join(read(composer().compose(parts(unsubscribe_url=url), NOON))["List-Unsubscribe"].split()) == f"<{url}>"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("taro@example.com", "taro@example.com"),
        ("taro..y@docomo.example", '"taro..y"@docomo.example'),
        (".taro@docomo.example", '".taro"@docomo.example'),
        ("taro.@docomo.example", '"taro."@docomo.example'),
        ("taro@例え.example", "taro@xn--r8jz45g.example"),
    ],
)
def test_addresses_are_written_as_the_rfc_wants(written: str, sent: str) -> None:
    assert header_address(written) == sent
    message = read(composer().compose(parts(to_address=written), NOON))
    assert message["To"].addresses[0].domain == sent.rpartition("@")[2]


@pytest.mark.parametrize(
    "address", ["", "taro", "a@b@c.example", "太郎@example.com", "a b@example.com", "<a@b.example>"]
)
def test_addresses_that_can_not_be_written_are_refused(address: str) -> None:
    with pytest.raises(UnsafeAddress):
        header_address(address)


def test_a_name_with_quotes_and_commas_stays_one_name() -> None:
    message = read(composer().compose(parts(to_name='Yamada, "Taro" \\ <x@y.example>'), NOON))
    assert [(one.display_name, one.addr_spec) for one in message["To"].addresses] == [
        ('Yamada, "Taro" \\ <x@y.example>', "taro@example.com")
    ]
