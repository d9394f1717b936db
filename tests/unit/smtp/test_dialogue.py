"""The server's side of the conversation, command by command."""

from __future__ import annotations

import pytest

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, MessageReceived, ServerDialogue

KEPT = say.make_reply(250, "2.0.0", "kept")
ENVELOPE = b"MAIL FROM:<shop@site.example>\r\nRCPT TO:<r-1@in.example.com>\r\nDATA\r\n"


class OnlyOurs:
    """Take recipients of example.com; refuse the sender `spammer@bad.example`."""

    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        return say.make_reply(550, "5.7.1", "not you") if mail_from == "spammer@bad.example" else None

    def recipient(self, rcpt_to: str) -> bytes | None:
        return None if rcpt_to.endswith("example.com") else say.make_reply(550, "5.7.1", "not a relay")


def dialogue(*, lmtp: bool = False, greet: bool = True, **limits: int) -> ServerDialogue:
    made = ServerDialogue(DialogueLimits(**limits), "mx.example.com", OnlyOurs(), lmtp=lmtp)
    if greet:
        made.feed(b"LHLO c.example\r\n" if lmtp else b"EHLO c.example\r\n")
        made.take_output()
    return made


def codes(output: bytes) -> list[int]:
    return [int(line[:3]) for line in output.splitlines() if line[3:4] != b"-"]


def receive(made: ServerDialogue, text: bytes) -> MessageReceived:
    message = made.feed(ENVELOPE + text)
    assert message is not None
    return message


def test_greeting_names_the_host_before_anything_is_said() -> None:
    assert dialogue(greet=False).take_output().startswith(b"220 mx.example.com ESMTP")


def test_ehlo_offers_what_is_done_and_nothing_else() -> None:
    made = dialogue(greet=False, max_mail_bytes=1000)
    made.feed(b"EHLO c\r\n")
    offered = {line[4:] for line in made.take_output().splitlines()[1:]}
    always = b"mx.example.com,SIZE 1000,8BITMIME,SMTPUTF8,PIPELINING,CHUNKING,ENHANCEDSTATUSCODES"
    assert offered == set(always.split(b","))


def test_nothing_is_answered_after_a_mail_until_its_verdict() -> None:
    made = dialogue()
    message = made.feed(ENVELOPE + b"Subject: x\r\n\r\nhi\r\n.\r\nNOOP\r\n")
    assert message == MessageReceived("shop@site.example", ("r-1@in.example.com",), b"Subject: x\r\n\r\nhi\r\n")
    assert codes(made.take_output()) == [250, 250, 354]
    assert made.awaits_verdict
    made.settle(KEPT)
    assert made.take_output() == KEPT + say.OK


def test_pipelined_second_mail_comes_out_of_settle() -> None:
    made = dialogue()
    first = made.feed((ENVELOPE + b"one\r\n.\r\n") + (ENVELOPE + b"two\r\n.\r\n") + b"QUIT\r\n")
    second = made.settle(KEPT)
    assert made.settle(KEPT) is None
    assert (first and first.content, second and second.content) == (b"one\r\n", b"two\r\n")
    assert codes(made.take_output()) == [250, 250, 354, 250, 250, 250, 354, 250, 221]
    assert made.closing


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...a\r\nb\r\n..\r\n.\r\n", b"..a\r\nb\r\n.\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\x00b\r\x0b\xff\n\x80\r\n.\r\n", b"a\x00b\r\x0b\xff\n\x80\r\n"),
        (b"x" * 70_000 + b"\r\n..\r\n.\r\n", b"x" * 70_000 + b"\r\n.\r\n"),
    ],
)
def test_text_is_unstuffed_and_otherwise_untouched(sent: bytes, kept: bytes) -> None:
    assert receive(dialogue(), sent).content == kept
    bytewise = dialogue()
    bytewise.feed(ENVELOPE)
    got = [bytewise.feed(sent[at : at + 1]) for at in range(len(sent))][-1]
    assert got is not None
    assert got.content == kept


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n\x00.\r\n", b"\r\r\n.\r\r\n"]
)
def test_looser_end_of_mail_is_text_so_nothing_is_smuggled(end: bytes) -> None:
    made = dialogue()
    smuggled = (
        b"harmless" + end + b"MAIL FROM:<boss@bank.example>\r\nRCPT TO:<r-1@in.example.com>\r\nDATA\r\nevil\r\n.\r\n"
    )
    message = receive(made, smuggled)
    assert b"evil" in message.content
    assert b"boss@bank.example" in message.content
    made.settle(KEPT)
    assert codes(made.take_output()) == [250, 250, 354, 250]


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n", b"MAIL FROM:<a@b.example>\n", b"RSET\r\r\n", b"\n"])
def test_command_with_a_bare_line_end_is_refused(line: bytes) -> None:
    made = dialogue()
    made.feed(line)
    assert codes(made.take_output()) == [500]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"MAIL FROM:<>\r\n", 250),
        (b"mail from: <a@b.example> SIZE=12 BODY=8BITMIME SMTPUTF8\r\n", 250),
        (b"MAIL FROM:<@relay.example,@two.example:a@b.example>\r\n", 250),
        (b'MAIL FROM:<"odd \\" one"@b.example>\r\n', 250),
        (b"MAIL FROM:a@b.example\r\n", 501),
        (b"MAIL FROM:<a b@c.example>\r\n", 501),
        (b"MAIL FROM:<a\x00@c.example>\r\n", 501),
        (b"MAIL FROM:<a@b.example> SIZE=many\r\n", 501),
        (b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n", 501),
        (b"MAIL FROM:<a@b.example> RET=FULL\r\n", 555),
        (b"MAIL FROM:<a@b.example> SIZE=99999999999\r\n", 552),
        (b"MAIL FROM:<spammer@bad.example>\r\n", 550),
        ("MAIL FROM:<予約@店.example>\r\n".encode(), 553),
        ("MAIL FROM:<予約@店.example> SMTPUTF8\r\n".encode(), 250),
        (b"MAIL FROM:<\xff\xfe@b.example> SMTPUTF8\r\n", 501),
        (b"RCPT TO:<r-1@in.example.com>\r\n", 503),
        (b"DATA\r\n", 503),
        (b"DATAX\r\n", 500),
        (b"VRFY someone\r\n", 252),
        (b"EXPN list\r\n", 502),
        (b"HELP\r\n", 214),
        (b"RSET\r\n", 250),
        (b"STARTTLS\r\n", 500),
        (b"AUTH PLAIN AAA=\r\n", 500),
        (b"LHLO c\r\n", 500),
        (b"EHLO\r\n", 501),
        (b"\r\n", 500),
        (b"\x00\x01\xff\xfe\r\n", 500),
        (b"GET / HTTP/1.1\r\n", 500),
    ],
)
def test_each_command_gets_its_code(line: bytes, code: int) -> None:
    made = dialogue()
    assert made.feed(line) is None
    assert codes(made.take_output()) == [code]


def test_mail_before_hello_is_out_of_order() -> None:
    made = dialogue(greet=False)
    made.take_output()
    made.feed(b"MAIL FROM:<a@b.example>\r\n")
    assert codes(made.take_output()) == [503]


def test_refused_recipient_does_not_stop_the_others() -> None:
    made = dialogue()
    message = made.feed(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:<r-2@example.com>\r\nDATA\r\nhi\r\n.\r\n"
    )
    assert message is not None
    assert message.rcpt_tos == ("r-2@example.com",)
    assert codes(made.take_output()) == [250, 550, 250, 354]


def test_data_without_any_recipient_is_refused() -> None:
    made = dialogue()
    made.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\n")
    assert codes(made.take_output()) == [250, 550, 554]


def test_recipients_beyond_the_limit_are_put_off_not_refused() -> None:
    made = dialogue(max_recipients=2)
    made.feed(b"MAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<r-2@example.com>\r\n" * 3)
    assert codes(made.take_output()) == [250, 250, 250, 452]


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_too_big_a_mail_is_read_over_and_the_next_one_is_taken(pieces: int) -> None:
    made = dialogue(max_mail_bytes=1_000)
    text = ENVELOPE + b"y" * 1_200 + b"\r\n.\r\n" + ENVELOPE + b"z" * 998 + b"\r\n.\r\n"
    step = max(1, len(text) // pieces)
    got = [made.feed(text[at : at + step]) for at in range(0, len(text), step)]
    assert [message.content[:1] for message in got if message] == [b"z"]
    assert codes(made.take_output()) == [250, 250, 354, 552, 250, 250, 354]


def test_mail_without_end_is_cut_off_and_costs_no_memory() -> None:
    made = dialogue(max_mail_bytes=1_000)
    made.feed(ENVELOPE)
    for _ in range(30):
        made.feed(b"w" * 100)
        assert made.held_bytes <= 1_102
    assert not made.closing
    for _ in range(20):
        made.feed(b"w" * 100)
    assert made.closing
    assert codes(made.take_output())[-1] == 421


def test_owner_may_refuse_a_mail_while_it_comes() -> None:
    made = dialogue()
    made.feed(ENVELOPE + b"v" * 5_000)
    made.refuse_mail(say.make_reply(452, "4.3.1", "no room"))
    assert made.held_bytes <= 4
    assert made.feed(b"more\r\n.\r\n") is None
    assert codes(made.take_output()) == [250, 250, 354, 452]


def test_line_without_end_is_refused_once_and_skipped() -> None:
    made = dialogue(max_command_bytes=100)
    for _ in range(50):
        made.feed(b"A" * 60)
        assert made.held_bytes <= 160
    made.feed(b"\r\nNOOP\r\n")
    assert codes(made.take_output()) == [500, 250]


def test_too_many_errors_end_the_conversation() -> None:
    made = dialogue(max_errors=3)
    made.feed(b"FOO\r\n" * 10)
    assert codes(made.take_output()) == [500, 500, 500, 500, 421]
    assert made.closing
    assert made.feed(b"NOOP\r\n") is None
    assert made.take_output() == b""


def test_a_kept_mail_forgives_earlier_errors() -> None:
    made = dialogue(max_errors=3)
    for _ in range(4):
        made.feed(b"FOO\r\nFOO\r\n" + ENVELOPE + b"hi\r\n.\r\n")
        made.settle(KEPT)
    assert not made.closing


def test_idling_without_a_mail_ends_the_conversation() -> None:
    made = dialogue(max_idle_commands=5)
    made.feed(b"NOOP\r\n" * 10)
    assert codes(made.take_output()) == [250] * 4 + [421]


def test_lmtp_answers_each_recipient() -> None:
    made = dialogue(lmtp=True)
    message = made.feed(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<r-1@example.com>\r\nRCPT TO:<x@other.example>\r\n"
        b"RCPT TO:<r-2@example.com>\r\nDATA\r\nhi\r\n.\r\n"
    )
    assert message is not None
    made.take_output()
    made.settle([KEPT, say.make_reply(451, "4.3.0", "not now")])
    assert codes(made.take_output()) == [250, 451]


def test_lmtp_knows_neither_helo_nor_ehlo_and_data_without_recipients_is_503() -> None:
    made = dialogue(lmtp=True)
    made.feed(b"EHLO c\r\nHELO c\r\nMAIL FROM:<a@b.example>\r\nDATA\r\n")
    assert codes(made.take_output()) == [500, 500, 250, 503]


def test_lmtp_wants_as_many_verdicts_as_recipients() -> None:
    made = dialogue(lmtp=True)
    receive(made, b"hi\r\n.\r\n")
    with pytest.raises(ValueError, match="1 replies, not 2"):
        made.settle([KEPT, KEPT])


def test_close_waits_for_the_mail_in_hand() -> None:
    made = dialogue()
    made.feed(ENVELOPE + b"half")
    made.request_close()
    assert not made.closing
    assert made.feed(b" and half\r\n.\r\n") is not None
    made.take_output()
    made.settle(KEPT)
    assert made.take_output() == KEPT + say.SHUTTING_DOWN
    assert made.closing


def test_close_is_at_once_between_mails() -> None:
    made = dialogue()
    made.request_close()
    assert made.closing
    assert made.take_output() == say.SHUTTING_DOWN


def test_close_at_once_drops_the_half_mail() -> None:
    made = dialogue()
    made.feed(ENVELOPE + b"half")
    made.request_close(say.make_reply(421, "4.4.2", "too slow"), at_once=True)
    assert made.closing
    assert made.held_bytes == 0


def test_verdict_without_a_mail_is_a_mistake_of_the_owner() -> None:
    with pytest.raises(RuntimeError):
        dialogue().settle(KEPT)


class Twice(ServerDialogue):
    """Does two commands, and then says good bye."""

    commands = 0

    def refuse_command(self, line: bytes) -> bytes | None:
        self.commands += 1
        return say.make_reply(421, "4.7.0", "enough") if self.commands > 2 else None


def test_the_owner_may_refuse_a_command_and_never_a_mail_s_text() -> None:
    made = Twice(DialogueLimits(), "mx.example.com", OnlyOurs())
    assert made.feed(b"EHLO c.example\r\nRSET\r\nRSET\r\nQUIT\r\n") is None
    assert codes(made.take_output())[-2:] == [250, 421]
    assert made.closing
    made = Twice(DialogueLimits(), "mx.example.com", OnlyOurs())
    made.commands = -3
    made.feed(b"EHLO c.example\r\n")
    assert made.feed(ENVELOPE + b"one\r\ntwo\r\nthree\r\n.\r\n") is not None, "four commands, and lines of text"
    assert made.commands == 1
