from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.transports.smtp.commands import NotSent, OpeningCommands
from todoku.delivery.transports.smtp.offers import Offers, kind_of, read_offers, status_of
from todoku.delivery.transports.smtp.replies import Reply
from todoku.delivery.types import AnswerKind, Envelope

ALL = Offers(pipelining=True, eight_bit=True, size=5_000, says_size=True, chunking=True, utf8=True)


def envelope(rcpt_to: str = "guest@example.com", mail_from: str = "shop@todoku.example", size: int = 20) -> Envelope:
    return Envelope(0, mail_from, rcpt_to, b"x" * size)


def test_offers_are_read_line_by_line() -> None:
    lines = (
        "relay.example AT your service",
        "size 35882577",
        "8bitmime",
        "AUTH LOGIN PLAIN",
        "AUTH=XOAUTH2",
        "CHUNKING",
    )
    offers = read_offers(Reply(250, " ".join(lines), lines))
    assert offers.size == 35_882_577
    assert offers.eight_bit
    assert not offers.pipelining
    assert offers.auth == {"LOGIN", "PLAIN", "XOAUTH2"}


def test_the_name_of_a_relay_is_no_offer() -> None:
    assert not read_offers(Reply(250, "", ("PIPELINING CHUNKING", "SIZE"))).pipelining


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (250, "2.0.0 ok", AnswerKind.ACCEPTED),
        (550, "5.1.1 nobody", AnswerKind.PERMANENT),
        (554, "4.7.1 a contradiction: the basic code decides", AnswerKind.PERMANENT),
        (450, "4.1.1 not checked yet", AnswerKind.TEMPORARY),
        (450, "5.1.1 nobody, said softly", AnswerKind.PERMANENT),
        (450, "5.1.10 null MX", AnswerKind.PERMANENT),
        (450, "5.1.100 something else", AnswerKind.TEMPORARY),
        (450, "5.7.1 by policy, perhaps later", AnswerKind.TEMPORARY),
        (421, "4.7.0 [TSS04] deferred", AnswerKind.TEMPORARY),
        (451, "no code at all", AnswerKind.TEMPORARY),
        (552, "", AnswerKind.PERMANENT),
    ],
)
def test_what_a_refusal_means(code: int, text: str, kind: AnswerKind) -> None:
    assert kind_of(Reply(code, text)) is kind


def test_the_status_is_read_with_and_without_the_basic_code() -> None:
    assert str(status_of("550 5.1.10 x")) == "5.1.10"
    assert status_of("4.7.0 slow down") == (4, 7, 0)
    assert status_of("550 nobody") is None
    assert status_of("550 5.1.1.2 x") is None


def test_mail_and_rcpt_say_what_the_relay_understands() -> None:
    opening = OpeningCommands(ALL).of(envelope())
    assert opening == b"MAIL FROM:<shop@todoku.example> SIZE=20\r\nRCPT TO:<guest@example.com>\r\n"
    assert OpeningCommands(Offers()).of(envelope()) == (
        b"MAIL FROM:<shop@todoku.example>\r\nRCPT TO:<guest@example.com>\r\n"
    )


def test_a_japanese_local_part_goes_as_it_is_where_smtputf8_is_offered() -> None:
    opening = OpeningCommands(ALL).of(envelope("太郎@例え.example"))
    assert opening.decode() == ("MAIL FROM:<shop@todoku.example> SIZE=20 SMTPUTF8\r\nRCPT TO:<太郎@例え.example>\r\n")
    with pytest.raises(NotSent) as caught:
        OpeningCommands(Offers(eight_bit=True)).of(envelope("太郎@例え.example"))
    assert (caught.value.kind, caught.value.text[:9]) == (AnswerKind.PERMANENT, "553 5.6.7")


def test_a_japanese_sender_needs_smtputf8_too() -> None:
    commands = OpeningCommands(ALL)
    for _ in range(2):  # the second time from memory
        opening = commands.of(envelope(mail_from="店@todoku.example")).decode()
        assert opening.startswith("MAIL FROM:<店@todoku.example> SIZE=20 SMTPUTF8\r\n")
    with pytest.raises(NotSent):
        OpeningCommands(Offers()).of(envelope(mail_from="店@todoku.example"))


def test_a_japanese_domain_alone_needs_nothing() -> None:
    assert b"RCPT TO:<guest@xn--r8jz45g.example>\r\n" in OpeningCommands(Offers()).of(envelope("guest@例え.example"))


@pytest.mark.parametrize("own_limit", [0, 2_000, 9_000])
def test_a_message_that_is_too_long_is_not_tried(own_limit: int) -> None:
    limit = min(own_limit or 5_000, 5_000)
    OpeningCommands(ALL, own_limit).of(envelope(size=limit))
    with pytest.raises(NotSent) as caught:
        OpeningCommands(ALL, own_limit).of(envelope(size=limit + 1))
    assert (caught.value.kind, caught.value.text[:9]) == (AnswerKind.PERMANENT, "552 5.3.4")


def test_eight_bits_wait_for_a_relay_that_takes_them() -> None:
    message = Envelope(0, "shop@todoku.example", "guest@example.com", "本文".encode())
    assert b" BODY=8BITMIME\r\n" in OpeningCommands(ALL).of(message)
    with pytest.raises(NotSent) as caught:
        OpeningCommands(Offers()).of(message)
    assert caught.value.kind is AnswerKind.TEMPORARY


def test_the_null_sender() -> None:
    assert OpeningCommands(Offers()).of(envelope(mail_from="")).startswith(b"MAIL FROM:<>\r\n")


@given(st.text(max_size=40), st.text(max_size=40), st.booleans())
def test_no_address_can_write_a_command_of_its_own(mail_from: str, rcpt_to: str, utf8: bool) -> None:
    try:
        opening = OpeningCommands(ALL if utf8 else Offers()).of(envelope(rcpt_to, mail_from))
    except NotSent:
        return
    assert opening.count(b"\r\n") == 2
    assert opening.count(b"\r") == opening.count(b"\n") == 2
    assert opening.count(b"<") == opening.count(b">") == 2
