"""The first words with a relay, without a relay."""

from __future__ import annotations

import base64

import pytest

from todoku.delivery.transports.smtp.offers import Offers
from todoku.delivery.transports.smtp.opening import RelayRefused, StartTls, talk_to
from todoku.delivery.transports.smtp.relay import AuthMechanism, Relay, TlsMode
from todoku.delivery.transports.smtp.replies import Reply, ReplyReader

GREETING = "220 relay.example"
EHLO = "250-relay.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH LOGIN PLAIN\r\n250 STARTTLS"


def reply(words: str) -> Reply:
    (whole,) = ReplyReader().feed(words.encode() + b"\r\n")
    return whole


def play(relay: Relay, *replies: str | None) -> tuple[list[bytes | StartTls], Offers]:
    """Lead the talk with these replies (None: the handshake is done); return what was written, and the offers."""
    talk = talk_to(relay, "us.example")
    steps: list[bytes | StartTls] = [next(talk)]
    try:
        for words in replies:
            step = next(talk) if words is None else talk.send(reply(words))
            steps.append(step)
    except StopIteration as end:
        return steps, end.value
    raise AssertionError(f"the talk goes on after {steps}")


def test_a_plain_relay() -> None:
    steps, offers = play(Relay("relay.example", 25), GREETING, EHLO)
    assert steps == [b"", b"EHLO us.example\r\n"]
    assert (offers.pipelining, offers.size) == (True, 1000)
    assert offers.auth == {"PLAIN", "LOGIN"}


def test_a_relay_from_before_ehlo() -> None:
    steps, offers = play(Relay("relay.example", 25), GREETING, "502 5.5.1 what?", "250 relay.example")
    assert steps[-1] == b"HELO us.example\r\n"
    assert offers == Offers()


def test_what_was_offered_in_clear_is_forgotten_after_the_handshake() -> None:
    relay = Relay("relay.example", 587, tls=TlsMode.REQUIRED)
    steps, offers = play(relay, GREETING, EHLO, "220 go ahead", None, "250-relay.example\r\n250 8BITMIME")
    assert steps[2:] == [b"STARTTLS\r\n", StartTls(), b"EHLO us.example\r\n"]
    assert offers == Offers(eight_bit=True)


@pytest.mark.parametrize("tls", [TlsMode.OFF, TlsMode.OPPORTUNISTIC])
def test_a_secret_does_not_go_in_clear(tls: TlsMode) -> None:
    relay = Relay("relay.example", 25, tls=tls, user="shop", secret="secret")
    with pytest.raises(RelayRefused, match="does not go in clear"):
        play(relay, GREETING, EHLO.replace("STARTTLS", "8BITMIME"))


def test_unless_somebody_says_so() -> None:
    relay = Relay("relay.example", 25, user="shop", secret="secret", auth_in_clear_unsafe=True)
    steps, _ = play(relay, GREETING, EHLO, "235 welcome")
    assert steps[-1] == b"AUTH PLAIN " + base64.b64encode(b"\0shop\0secret") + b"\r\n"


def test_login_is_two_questions() -> None:
    relay = Relay("127.0.0.1", 25, user="shop", secret="secret", auth=AuthMechanism.LOGIN)
    steps, _ = play(relay, GREETING, EHLO, "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 welcome")
    assert steps[2:] == [b"AUTH LOGIN\r\n", b"c2hvcA==\r\n", b"c2VjcmV0\r\n"]


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (("554 5.3.2 not today",), "refuses us: 554 5.3.2 not today"),
        (("421 busy",), "refuses us: 421 busy"),
        ((GREETING, "550 5.7.1 not you"), "refuses EHLO: 550 5.7.1 not you"),
        ((GREETING, EHLO, "454 4.7.0 no TLS now"), "refuses STARTTLS: 454 4.7.0"),
        ((GREETING, "250 relay.example"), "offers no STARTTLS"),
    ],
)
def test_refusals_are_told_in_the_relays_words(replies: tuple[str, ...], words: str) -> None:
    with pytest.raises(RelayRefused, match=words):
        play(Relay("relay.example", 587, tls=TlsMode.REQUIRED), *replies)


@pytest.mark.parametrize("echo", ["secret", "c2VjcmV0", base64.b64encode(b"\0shop\0secret").decode()])
def test_a_relay_that_repeats_the_secret_does_not_bring_it_into_the_books(echo: str) -> None:
    relay = Relay("127.0.0.1", 25, user="shop", secret="secret")
    with pytest.raises(RelayRefused, match=r"535 5\.7\.8 wrong: …") as caught:
        play(relay, GREETING, EHLO, f"535 5.7.8 wrong: {echo}")
    assert "secret" not in str(caught.value)
