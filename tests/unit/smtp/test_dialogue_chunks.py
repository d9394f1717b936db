"""BDAT, STARTTLS and AUTH on the server's side."""

from __future__ import annotations

import base64
import hmac

import pytest

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, MessageReceived, ServerDialogue
from todoku.mail.smtp_login import Security

KEPT = say.make_reply(250, "2.0.0", "kept")
ENVELOPE = b"MAIL FROM:<shop@site.example>\r\nRCPT TO:<r-1@in.example.com>\r\n"
TEXT = b"Subject: x\r\n\r\n.dot\r\nbare\nline\r\n"


class OnlyOurs:
    """Take recipients of example.com; one user may log in."""

    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        return None

    def recipient(self, rcpt_to: str) -> bytes | None:
        return None if rcpt_to.endswith("example.com") else say.make_reply(550, "5.7.1", "not a relay")

    def admits(self, user: str, secret: str) -> bool:
        return user == "shop" and hmac.compare_digest(secret.encode(), "秘密".encode())


def dialogue(*, lmtp: bool = False, tls: bool = False, login_in_clear: bool = False, **limits: int) -> ServerDialogue:
    made = ServerDialogue(
        DialogueLimits(**limits),
        "mx.example.com",
        OnlyOurs(),
        lmtp=lmtp,
        security=Security(starttls=tls, authenticator=OnlyOurs(), login_in_clear_unsafe=login_in_clear),
    )
    made.feed(b"LHLO c.example\r\n" if lmtp else b"EHLO c.example\r\n")
    made.take_output()
    return made


def codes(made: ServerDialogue) -> list[int]:
    return [int(line[:3]) for line in made.take_output().splitlines() if line[3:4] != b"-"]


def test_a_mail_in_one_chunk_is_kept_as_it_came() -> None:
    made = dialogue()
    message = made.feed(ENVELOPE + b"BDAT %d LAST\r\n" % len(TEXT) + TEXT)
    assert message == MessageReceived("shop@site.example", ("r-1@in.example.com",), TEXT)
    assert codes(made) == [250, 250]
    assert made.settle(KEPT) is None
    assert made.take_output() == KEPT


def test_chunks_are_joined_and_each_is_answered() -> None:
    made = dialogue()
    assert made.feed(ENVELOPE + b"BDAT 10\r\n" + TEXT[:10]) is None
    assert codes(made) == [250, 250, 250]
    assert made.in_mail
    assert made.held_bytes == 10
    message = made.feed(b"BDAT %d\r\n" % (len(TEXT) - 10) + TEXT[10:] + b"BDAT 0 LAST\r\n")
    assert message is not None
    assert message.content == TEXT
    assert codes(made) == [250]


def test_several_mails_in_one_write_with_a_reset_before_each() -> None:
    made = dialogue()
    group = b"RSET\r\n" + ENVELOPE + b"BDAT %d LAST\r\n" % len(TEXT) + TEXT
    message = made.feed(group * 3)
    for _ in range(3):
        assert message is not None
        assert message.content == TEXT
        message = made.settle(KEPT)
    assert message is None
    assert codes(made) == [250, 250, 250, 250] * 3


def test_octets_of_a_refused_mail_are_eaten_and_never_read_as_commands() -> None:
    made = dialogue()
    smuggled = b"MAIL FROM:<evil@site.example>\r\nRCPT TO:<r-1@in.example.com>\r\nDATA\r\n"
    refused = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@elsewhere.example>\r\nBDAT %d LAST\r\n" % len(smuggled)
    message = made.feed(refused + smuggled + ENVELOPE + b"BDAT %d LAST\r\n" % len(TEXT) + TEXT)
    assert codes(made) == [250, 550, 554, 250, 250]
    assert message is not None
    assert message.mail_from == "shop@site.example"


@pytest.mark.parametrize("lmtp", [False, True])
def test_bdat_without_a_mail_is_out_of_order_and_a_mail_after_it_is_taken(lmtp: bool) -> None:
    made = dialogue(lmtp=lmtp)
    assert made.feed(b"BDAT 5\r\nQUIT\nBDAT 4 LAST\r\nQUIT") is None
    assert codes(made) == [503, 503]
    assert made.feed(b"BDAT 4\r\nQUIT" + ENVELOPE + b"BDAT 2 LAST\r\nhi") is not None
    assert codes(made) == [503, 250, 250]


def test_data_and_bdat_do_not_mix_in_one_mail() -> None:
    made = dialogue()
    made.feed(ENVELOPE + b"BDAT 2\r\nhiDATA\r\n")
    assert codes(made) == [250, 250, 250, 503]


def test_too_big_in_chunks_is_eaten_and_refused_at_each_of_them() -> None:
    made = dialogue(max_mail_bytes=100)
    assert made.feed(ENVELOPE + b"BDAT 90\r\n" + bytes(90) + b"BDAT 90\r\n" + bytes(90)) is None
    assert made.held_bytes == 0
    assert made.feed(b"BDAT 9 LAST\r\n" + bytes(9)) is None
    assert codes(made) == [250, 250, 250, 552, 552]
    assert not made.in_mail


def test_far_too_big_ends_the_conversation() -> None:
    made = dialogue(max_mail_bytes=100)
    made.feed(ENVELOPE + b"BDAT 999999999999 LAST\r\n")
    assert codes(made) == [250, 250, 421]
    assert made.closing


def test_a_chunk_without_a_count_ends_the_conversation_because_nobody_knows_what_follows() -> None:
    made = dialogue()
    made.feed(ENVELOPE + b"BDAT LAST\r\nMAIL FROM:<a@b.example>\r\n")
    assert codes(made) == [250, 250, 501, 421]
    assert made.closing


def test_the_owner_may_refuse_a_mail_between_chunks() -> None:
    made = dialogue()
    made.feed(ENVELOPE + b"BDAT 5\r\n12345")
    made.refuse_mail(say.make_reply(452, "4.3.1", "no room"))
    assert made.held_bytes == 0
    assert made.feed(b"BDAT 2 LAST\r\n67") is None
    assert codes(made) == [250, 250, 250, 452]


def test_lmtp_answers_each_recipient_of_the_last_chunk() -> None:
    made = dialogue(lmtp=True)
    made.feed(ENVELOPE + b"RCPT TO:<r-2@in.example.com>\r\nBDAT 2\r\nhi")
    message = made.feed(b"BDAT 0 LAST\r\n")
    assert message is not None
    made.settle([KEPT, say.make_reply(452, "4.2.2", "full")])
    assert codes(made) == [250, 250, 250, 250, 250, 452]


def test_starttls_drops_what_came_before_the_handshake_and_forgets_the_greeting() -> None:
    made = dialogue(tls=True)
    made.feed(b"MAIL FROM:<a@b.example>\r\nSTARTTLS\r\nRCPT TO:<r-1@in.example.com>\r\n")
    assert codes(made) == [250, 220]
    assert made.wants_tls
    assert made.feed(b"MAIL FROM:<evil@b.example>\r\n") is None
    made.tls_begun()
    made.feed(b"MAIL FROM:<a@b.example>\r\nEHLO c.example\r\n")
    output = made.take_output()
    assert output.startswith(say.WRONG_ORDER)
    assert b"STARTTLS" not in output
    assert b"AUTH PLAIN LOGIN" in output
    made.feed(b"STARTTLS\r\n")
    assert codes(made) == [503], "known, and out of place"


def test_starttls_is_not_known_where_it_is_not_offered() -> None:
    made = dialogue()
    made.feed(b"STARTTLS\r\n")
    assert codes(made) == [500]
    with pytest.raises(RuntimeError):
        made.tls_begun()


def encoded(*words: str) -> bytes:
    return base64.b64encode("\0".join(words).encode()) + b"\r\n"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (b"AUTH PLAIN " + encoded("", "shop", "秘密"), [235]),
        (b"AUTH PLAIN\r\n" + encoded("", "shop", "秘密"), [334, 235]),
        (b"AUTH LOGIN\r\n" + encoded("shop") + encoded("秘密"), [334, 334, 235]),
        (b"AUTH LOGIN " + encoded("shop") + encoded("秘密"), [334, 235]),
        (b"AUTH PLAIN " + encoded("", "shop", "wrong"), [535]),
        (b"AUTH PLAIN " + encoded("shop", "秘密"), [501]),
        (b"AUTH PLAIN !!!\r\n", [501]),
        (b"AUTH PLAIN " + base64.b64encode(b"\0shop\0\xff") + b"\r\n", [501]),
        (b"AUTH LOGIN\r\n*\r\n", [334, 501]),
        (b"AUTH CRAM-MD5\r\n", [504]),
    ],
)
def test_a_login(lines: bytes, wanted: list[int]) -> None:
    made = dialogue(login_in_clear=True)
    made.feed(lines)
    assert codes(made) == wanted
    assert made.user == ("shop" if wanted[-1] == 235 else "")


def test_no_login_in_clear_unless_somebody_says_so() -> None:
    made = dialogue()
    made.feed(b"AUTH PLAIN " + encoded("", "shop", "秘密"))
    assert codes(made) == [500]
