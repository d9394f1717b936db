"""IMAP servers that lie, drip, say nothing or break off: a clear error, and the next mail comes."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from structlog.testing import capture_logs
from tests.integration.sources.imap_peer import MAILS, Answer, Client, ImapPeer, all_of, imap_source, keys_of, say

from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished


async def _reset_in_the_middle(client: Client, _command: bytes) -> None:
    client.say(b"* 2 FETCH (UID 2 BODY[] {1000}\r\nSubject: half")
    await client.writer.drain()
    client.reset()


BAD_FETCHES: dict[str, tuple[Answer, str]] = {
    "another mail": (say(b"* 1 FETCH (UID 77 BODY[] {3}\r\nabc)\r\n"), "gave another mail"),
    "silence": (say(b"", b""), "did not answer"),
    "a drop and silence": (say(b"* 2 FETCH (UID 2 BODY[] {1000}\r\nSub", b""), "only in drops"),
    "reset": (_reset_in_the_middle, "broke"),
    "nonsense": (say(b"* 2 FETCH (UID x BODY[] {1}\r\na)\r\n"), "what IMAP does not know"),
    "no end of a list": (say(b"* 2 FETCH (UID 2 BODY[] {1}\r\na\r\n"), "what IMAP does not know"),
    "no uid": (say(b"* 2 FETCH (BODY[] {1}\r\na)\r\n"), "gave another mail"),
    "two mails": (
        say(b"* 2 FETCH (UID 2 BODY[] {1}\r\na)\r\n* 3 FETCH (UID 2 BODY[] {1}\r\nb)\r\n"),
        "different mails under UID 2",
    ),
    "no": (say(b"", b"NO [SERVERBUG] can't be opened"), "can't be opened"),
    "bad": (say(b"", b"BAD what"), "what"),
    "large": (say(b"* 2 FETCH (UID 2 BODY[] {70000000}\r\n" + b"x" * 100_000, b""), "larger than 64 MB"),
    "endless line": (say(b"* " + b"x" * 300_000, b""), "does not end"),
    "many literals": (say(b"* 2 FETCH (X" + b" {1}\r\nx" * 50 + b")\r\n"), "more in one answer"),
    "another's tag": (say(b"T99999 OK done\r\n", b""), "what IMAP does not know"),
    "bye": (say(b"* BYE I have enough\r\n"), "I have enough"),
}


@pytest.mark.parametrize("name", BAD_FETCHES)
async def test_one_mail_that_can_not_be_had_does_not_stop_the_next(name: str) -> None:
    answer, words = BAD_FETCHES[name]
    peer = ImapPeer(MAILS, {b"UID FETCH 2 ": answer})
    async with imap_source(peer, seconds=0.3) as (source, _):
        first, second, third = await all_of(source)
        assert (first, third) == (MAILS[1], MAILS[3])
        assert isinstance(second, CannotFetch), second
        assert words in second.what
        assert await keys_of(source), "the next look works"


async def test_a_mail_above_the_limit_is_not_asked_for_and_not_kept_in_memory() -> None:
    large = say(b"* 1 FETCH (UID 5 RFC822.SIZE 70000000)\r\n* 2 FETCH (UID 6 RFC822.SIZE 3)\r\n")
    peer = ImapPeer({5: b"", 6: b"abc"}, {b"UID FETCH 1:*": large})
    async with imap_source(peer) as (source, _):
        first, second = await all_of(source)
        assert isinstance(first, CannotFetch)
        assert second == b"abc"
        assert not any(b"UID FETCH 5 " in line for line in peer.heard)


async def test_an_announced_size_reserves_no_memory() -> None:
    answer = say(b"* 2 FETCH (UID 2 BODY[] {67000000}\r\nx", b"")
    async with imap_source(ImapPeer({2: b"x"}, {b"UID FETCH 2 ": answer}), seconds=0.2) as (source, _):
        tracemalloc.start()
        (result,) = await all_of(source)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(result, CannotFetch)
        assert peak_bytes < 4 * 1024 * 1024


async def test_answers_in_any_order_and_form_reach_who_asked() -> None:
    """RFC 9051 section 5.5 lets a server answer commands in any order; a body may be a quoted string."""
    held: list[bytes] = []

    async def late(client: Client, _command: bytes) -> None:
        held.append(client.tag)
        client.say(b'* 9 FETCH (FLAGS (\\Seen) UID 3)\r\n* 2 FETCH (BODY[] "a\\"b" UID 2)\r\n')

    async def early(client: Client, _command: bytes) -> None:
        client.say(b"* 3 FETCH (UID 3 BODY[] ~{3}\r\nccc)\r\n* 1 EXPUNGE\r\n")
        client.end(b"OK [X-ODD (1)] three")
        client.say(held[0] + b" OK two\r\n")

    peer = ImapPeer(MAILS, {b"UID FETCH 2 ": late, b"UID FETCH 3 ": early})
    async with imap_source(peer) as (source, _):
        assert await all_of(source) == [MAILS[1], b'a"b', b"ccc"]
        assert peer.connections == 1


async def test_a_uid_that_is_listed_twice_is_one_key_and_said() -> None:
    twice = say(b"* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 1)\r\n* 3 FETCH (UID 3)\r\n")
    async with imap_source(ImapPeer(MAILS, {b"UID FETCH 1:*": twice})) as (source, _):
        with capture_logs() as lines:
            assert len(await keys_of(source)) == 2
        (line,) = [line for line in lines if line["event"] == "imap.listing_odd"]
        assert (line["exists"], line["uids"], line["doubles"]) == (3, 2, 1)


async def test_one_mail_that_spoils_the_listing_hides_no_other() -> None:
    async with imap_source(ImapPeer(MAILS, {b"UID FETCH 1:* (UID INTERNALDATE": say(b"", b"NO one is broken")})) as (
        source,
        _,
    ):
        assert await all_of(source) == list(MAILS.values())


async def test_a_connection_that_breaks_once_costs_no_mail() -> None:
    broke = False

    async def fetch(client: Client, _command: bytes) -> None:
        nonlocal broke
        if not broke:
            broke = True
            await _reset_in_the_middle(client, b"")
        peer.give(client, 2)
        client.end()

    peer = ImapPeer(MAILS, {b"UID FETCH 2 ": fetch})
    async with imap_source(peer) as (source, _):
        assert await all_of(source) == list(MAILS.values())


async def test_a_listing_that_is_refused_altogether_is_no_empty_folder() -> None:
    async with imap_source(ImapPeer(MAILS, {b"UID FETCH 1:*": say(b"", b"NO not now")})) as (source, _):
        with pytest.raises(CannotLook, match="not now"):
            await keys_of(source)


async def test_dates_are_told_in_utc() -> None:
    async with imap_source(ImapPeer({1: b"a"})) as (source, _):
        (listed,) = [one async for one in source.list_mails()]
        assert listed.at_utc is not None
        assert listed.at_utc.isoformat() == "2026-02-01T00:30:00+00:00"


async def test_a_listing_that_is_left_in_the_middle_does_not_disturb_the_next() -> None:
    async with imap_source(ImapPeer(MAILS)) as (source, _):
        listing = source.list_mails()
        async for _one in listing:
            break
        await listing.aclose()  # type: ignore[attr-defined]
        assert await all_of(source) == list(MAILS.values())


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (say(b"", b"NO [NONEXISTENT] none"), Cause.MISSING),
        (say(b"", b"NO none"), Cause.MISSING),
        (say(b"", b"NO [NOPERM] not yours"), Cause.CREDENTIAL),
        (say(b"", b"NO [UNAVAILABLE] later"), Cause.UNREACHABLE),
        (say(b"* 0 EXISTS\r\n"), Cause.PROTOCOL),  # no UIDVALIDITY
        (say(b"* OK [UIDVALIDITY 7] x\r\n* NO [UIDNOTSTICKY] x\r\n"), Cause.PROTOCOL),
        (say(b"* OK [UIDVALIDITY many] x\r\n"), Cause.PROTOCOL),
        (say(b"* BYE down\r\n"), Cause.UNREACHABLE),
        (say(b"", b""), Cause.UNREACHABLE),
        (say(b"220 mail.example.jp ESMTP\r\n"), Cause.PROTOCOL),
    ],
)
async def test_a_folder_that_can_not_be_opened_is_told_as_what_it_is(answer: Answer, cause: Cause) -> None:
    async with imap_source(ImapPeer(MAILS, {b"EXAMINE": answer}), seconds=0.3) as (source, keyring):
        with pytest.raises(CannotLook) as caught:
            await keys_of(source)
        assert caught.value.cause is cause
        assert keyring.refusals == []


@pytest.mark.parametrize("greeting", [b"220 ESMTP\r\n", b"\x16\x03\x01\r\n", b"* HELLO\r\n", b"* BYE full\r\n", b""])
async def test_a_greeting_that_is_none(greeting: bytes) -> None:
    peer = ImapPeer()
    peer.greeting = greeting
    async with imap_source(peer, seconds=0.2) as (source, _):
        with pytest.raises(CannotLook) as caught:
            await keys_of(source)
        assert caught.value.cause in {Cause.PROTOCOL, Cause.UNREACHABLE}


async def test_idle_is_renewed_and_tells_of_a_new_mail() -> None:
    idles = 0

    async def idle(client: Client, _command: bytes) -> None:
        nonlocal idles
        idles += 1
        client.say(b"+ idling\r\n* OK still here\r\n")
        if idles == 3:
            client.say(b"* 4 EXISTS\r\n")
            peer.mails[4] = b"Subject: 4\r\n\r\n"
        assert await client.line() == b"DONE"
        client.end()

    peer = ImapPeer(MAILS, {b"IDLE": idle}, b"IMAP4rev1 IDLE")
    async with imap_source(peer) as (source, _):
        await keys_of(source)
        async with asyncio.timeout(20):
            await source.until_changed(600.0)
        assert idles == 3
        assert len(await keys_of(source)) == 4
        assert peer.connections == 1


@pytest.mark.parametrize("capabilities", [b"IMAP4rev1", b"IMAP4rev1 IDLE"])
async def test_without_idle_the_folder_is_asked_now_and_then(capabilities: bytes) -> None:
    asked = 0

    async def examine(client: Client, _command: bytes) -> None:
        nonlocal asked
        asked += 1
        exists = 3 if asked < 4 else 4
        client.say(b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 900] x\r\n" % exists)
        client.end()

    peer = ImapPeer(MAILS, {b"EXAMINE": examine, b"IDLE": say(b"", b"BAD no IDLE")}, capabilities)
    async with imap_source(peer) as (source, _):
        await keys_of(source)
        async with asyncio.timeout(20):
            await source.until_changed(600.0)
        assert asked == 4


async def test_a_server_that_goes_away_while_we_wait_ends_the_waiting_and_no_more() -> None:
    async def idle(client: Client, _command: bytes) -> None:
        client.reset()

    async with imap_source(ImapPeer(MAILS, {b"IDLE": idle}, b"IMAP4rev1 IDLE")) as (source, _):
        await keys_of(source)
        async with asyncio.timeout(20):
            await source.until_changed(600.0)
        assert len(await keys_of(source)) == 3, "it is reached anew"


async def test_a_mail_that_is_nowhere_has_vanished() -> None:
    async with imap_source(ImapPeer(MAILS, {b"UID FETCH 2 ": say(b"* 2 FETCH (UID 2 BODY[] NIL)\r\n")})) as (source, _):
        _, second, third = await all_of(source)
        assert isinstance(second, MailVanished)
        assert third == MAILS[3]
        for key in ("", "x", "1.2.3", "7.x.y"):
            with pytest.raises(MailVanished):
                await source.fetch(key)
