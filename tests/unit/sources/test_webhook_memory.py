"""What a process remembers of calls is bounded; secrets are in no repr."""

from __future__ import annotations

from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.webhook.book import TOKEN, new_token
from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.memory import Octets, Remembered
from todoku.sources.webhook.sendgrid import split_headers
from todoku.sources.webhook.types import Answer, Call, tidy_address


def test_octets_are_counted_and_never_more_than_there_is_room_for() -> None:
    octets = Octets(10)
    assert [octets.take(4), octets.take(7), octets.take(6), octets.take(1)] == [True, False, True, False]
    octets.give_back(10)
    assert octets.left == 10


def test_the_key_that_was_used_longest_ago_is_forgotten() -> None:
    known = Remembered(2)
    known.put(b"1", "one")
    known.put(b"2", "two")
    assert known.get(b"1") == "one"
    known.put(b"3", "three")
    assert [known.get(key) for key in (b"1", b"2", b"3")] == ["one", None, "three"]


def test_tokens_can_not_be_guessed_and_need_no_escape() -> None:
    tokens = {new_token() for _ in range(1_000)}
    assert len(tokens) == 1_000
    assert all(TOKEN.fullmatch(token) and len(token) == 43 for token in tokens)


def test_nothing_of_a_call_or_a_secret_is_shown() -> None:
    secret = Credential("first", CredentialKind.STATIC_KEY, {"secret_key": "s3cret"})
    call = Call("text/plain", {"authorization": "Basic s3cret"}, b"s3cret")
    assert "s3cret" not in f"{call!r} {secret!r}"
    assert str(MalformedCall("odd")) == "odd. Kept: the body of the call, as it came."


def test_no_answer_can_make_a_provider_drop_a_mail() -> None:
    assert {Answer.kept("").status, Answer.later("").status} == {200, 503}


def test_envelope_addresses_are_one_line() -> None:
    assert tidy_address("<a@b.example>") == "a@b.example"
    assert tidy_address("a@b.example\r\nRCPT TO:<x>\x00") == "a@b.exampleRCPT TO:<x"
    assert tidy_address(None) == tidy_address(["a"]) == ""
    assert len(tidy_address("a" * 1_000)) == 320


def test_header_blocks_are_unfolded() -> None:
    block = "Received: a\r\n\tby b\r\n c\nSubject:x: y\n no colon here\nnot a header\nTo : z\n\n"
    assert split_headers(block) == [("Received", "a by b c"), ("Subject", "x: y no colon here"), ("To", "z")]
    assert split_headers("A: b\u2028c\x85d\r\nE: f") == [("A", "b\u2028c\x85d"), ("E", "f")]
    assert split_headers(" begins folded\nA: b") == [("A", "b")]
