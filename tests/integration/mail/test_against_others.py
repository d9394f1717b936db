"""On mail that is well formed our structure agrees with the standard library's parser; on Japanese mail it goes on."""

from __future__ import annotations

import base64
import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.mail.charsets import encode_iso2022jp, encode_subject_iso2022jp
from todoku.mail.parse import parse_mail

WORDS = st.text(st.sampled_from("予約確認山田太郎ABC abc123"), min_size=1, max_size=40).map(lambda text: f"x{text}x")
LINES = st.lists(st.text(st.sampled_from("人数：2名 abc-.=>"), max_size=60), max_size=8).map(
    lambda lines: ["first", *lines]
)
FILES = st.lists(st.tuples(WORDS, st.binary(max_size=200)), max_size=3)


@settings(max_examples=100, deadline=None)
@given(WORDS, LINES, st.booleans(), FILES, st.sampled_from(["base64", "quoted-printable"]))
def test_what_the_standard_library_writes_is_read_back(
    subject: str, lines: list[str], with_html: bool, files: list[tuple[str, bytes]], encoding: str
) -> None:
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = '"山田, 太郎" <a@b.example>'
    message["To"] = "c@d.example, e@f.example"
    message["Subject"] = subject
    message.set_content("\n".join(lines) + "\n", cte=encoding)
    if with_html:
        message.add_alternative("<p>html</p>", subtype="html")
    for name, content in files:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    parsed = parse_mail(message.as_bytes())
    assert parsed.subject == subject
    assert (parsed.sender.name, parsed.sender.address) == ("山田, 太郎", "a@b.example")
    assert [mailbox.address for mailbox in parsed.recipients] == ["c@d.example", "e@f.example"]
    assert parsed.text == "\n".join(lines) + "\n"
    assert (parsed.html is not None) is with_html
    assert [each.content for each in parsed.attachments] == [content for _, content in files]
    assert [each.filename.strip() for each in parsed.attachments] == [name.strip() for name, _ in files]
    assert (parsed.lossy_characters, parsed.defects) == (0, ())


# After a delimiter comes an empty line: on two delimiters in a row the standard library swallows the second.
SCRAPS = st.sampled_from(["", "--inner\n", "--inner--\n", "--outer\n", "text", "--outerx", "--innerx", "-- "])


@settings(max_examples=200, deadline=None)
@given(st.lists(SCRAPS, max_size=14))
def test_parts_are_cut_where_the_standard_library_cuts_them(lines: list[str]) -> None:
    raw = (
        "From: a@b.example\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n"
        "Content-Type: multipart/alternative; boundary=inner\n\n--inner\n\nfirst\n" + "\n".join(lines) + "\n--outer--\n"
    ).encode()
    theirs = email.message_from_bytes(raw, policy=email.policy.compat32)
    texts = [
        part.get_payload(decode=True).decode().strip()  # type: ignore[union-attr]
        for part in theirs.walk()
        if not part.is_multipart() and not part.get_content_type().startswith("multipart/")
    ]
    ours = parse_mail(raw)
    assert ours.text.split() == " ".join(texts).split()


def test_the_standard_library_loses_what_is_read_here() -> None:
    """Says why this room has its own reader; when this fails, the standard library has become better."""
    raw = (
        b"From: a@b.example\r\nSubject: " + encode_subject_iso2022jp("㈱髙橋様") + b"\r\n"
        b"Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n" + encode_iso2022jp("①髙﨑")
    )
    theirs = email.message_from_bytes(raw, policy=email.policy.default)
    assert "\ufffd" in theirs.get_content() or "①" not in theirs.get_content()
    assert "髙" not in theirs["subject"]
    ours = parse_mail(raw)
    assert (ours.subject, ours.text, ours.lossy_characters) == ("㈱髙橋様", "①髙﨑", 0)


@pytest.mark.parametrize("name", ["broken base64", "cut inside an escape", "raw Shift_JIS", "raw JIS"])
def test_the_compiled_parser_refuses_or_loses_what_is_read_here(name: str) -> None:
    """Says why the compiled parser is not used although it is quick (docs/mail.md)."""
    fast_mail_parser = pytest.importorskip("fast_mail_parser")
    text = "予約が確定しました"
    jis = encode_iso2022jp(text)
    cut = b" ".join(b"=?ISO-2022-JP?B?" + base64.b64encode(jis[at : at + 9]) + b"?=" for at in range(0, len(jis), 9))
    raw = {
        "broken base64": b"Subject: " + jis + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!44GC",
        "cut inside an escape": b"Subject: " + cut + b"\r\n\r\n",
        "raw Shift_JIS": b"Subject: " + text.encode("cp932") + b"\r\n\r\n",
        "raw JIS": b"Subject: " + jis + b"\r\n\r\n",
    }[name]
    raw = b"From: a@b.example\r\n" + raw
    assert parse_mail(raw).subject == text
    try:
        tree = fast_mail_parser.parse_email_tree(raw)
    except fast_mail_parser.ParseError:
        assert name == "broken base64"
    else:
        assert tree.headers["Subject"] != [text]
