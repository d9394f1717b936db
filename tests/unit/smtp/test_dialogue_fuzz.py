"""Whatever the bytes and however they are cut, the dialogue says the same and never raises."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, MessageReceived, ServerDialogue
from todoku.mail.smtp_login import Security

LIMITS = DialogueLimits(max_mail_bytes=60, max_recipients=2, max_command_bytes=64, max_errors=4, max_idle_commands=6)


class OnlyOurs:
    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        return None

    def recipient(self, rcpt_to: str) -> bytes | None:
        return say.make_reply(550, "5.7.1", "no") if rcpt_to.startswith("x") else None

    def admits(self, user: str, secret: str) -> bool:
        return secret == "p"


OPEN = Security(authenticator=OnlyOurs(), login_in_clear_unsafe=True)
WORDS = st.sampled_from(
    [
        b"EHLO c\r\n",
        b"LHLO c\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<> SIZE=40\r\n",
        b"MAIL FROM:<\xe5\xba\x97@b.example> SMTPUTF8\r\n",
        b"RCPT TO:<r@c.example>\r\n",
        b"RCPT TO:<x@c.example>\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 30 LAST\r\n",
        b"BDAT 50\r\n",
        b"BDAT x\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN\r\n",
        b"AHUAcA==\r\n",
        b"*\r\n",
        b"STARTTLS\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"\r\n.\r\n",
        b".\r\n",
        b"..\r\n",
        b"\n.\n",
        b"\r",
        b"\n",
        b".",
        b"text\r\n",
        b"y" * 50,
        b"z" * 70 + b"\r\n",
        b"\x00",
    ]
)
STREAMS = st.lists(st.one_of(WORDS, st.binary(max_size=12)), max_size=40).map(b"".join)
REAL_START = b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<r@c.example>\r\nDATA\r\n"


def run(pieces: list[bytes], *, lmtp: bool = False) -> tuple[bytes, list[MessageReceived], bool]:
    made = ServerDialogue(LIMITS, "h", OnlyOurs(), lmtp=lmtp, security=OPEN)
    messages = []
    output = made.take_output()
    for piece in pieces:
        message = made.feed(piece)
        while message is not None:
            messages.append(message)
            message = made.settle(say.OK)
        output += made.take_output()
    return output, messages, made.closing


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in itertools.pairwise(marks)]


@settings(max_examples=300, deadline=None)
@given(stream=STREAMS, begun=st.booleans(), lmtp=st.booleans(), places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_of_the_input_gives_the_same_replies_and_mails(
    stream: bytes, begun: bool, lmtp: bool, places: list[int]
) -> None:
    whole = (REAL_START.replace(b"EHLO", b"LHLO") if lmtp else REAL_START) * begun + stream
    expected = run([whole], lmtp=lmtp)
    assert run(cut(whole, places), lmtp=lmtp) == expected
    assert run([whole[at : at + 1] for at in range(len(whole))], lmtp=lmtp) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.lists(st.one_of(WORDS, st.binary(max_size=30)), max_size=8).map(b"".join))
def test_a_stuffed_mail_comes_out_as_it_went_in(text: bytes) -> None:
    body = text + b"\r\n"
    stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
    made = ServerDialogue(DialogueLimits(), "h", OnlyOurs())
    message = made.feed(REAL_START + stuffed + b".\r\n")
    assert message is not None
    assert message.content == body


@settings(max_examples=200, deadline=None)
@given(stream=st.binary(max_size=400))
def test_rubbish_is_answered_and_never_raises(stream: bytes) -> None:
    output, messages, _ = run([stream])
    assert messages == []
    assert output.startswith(b"220 ")
