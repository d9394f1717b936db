"""POP3 servers that lie, drip, say nothing or break off: a clear error, and the next mail comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs
from tests.integration.sources.imap_bench import password_of, token_of
from tests.integration.sources.imap_peer import Answer, Client, Pop3Peer, say

from todoku.kernel.clock import SystemClock
from todoku.sources.conformance import NotedKeyring
from todoku.sources.credentials import Credential
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.pop3 import Pop3Settings, Pop3Source
from todoku.sources.pop3 import session as module
from todoku.sources.tls import Encryption

MAILS = [(f"uidl-{number}".encode(), f"Subject: {number}\r\n\r\nx\r\n".encode()) for number in (1, 2, 3)]
SECRET = "very secret"


@asynccontextmanager
async def _source(
    peer: Pop3Peer, *credentials: Credential, encryption: Encryption = Encryption.NONE, seconds: float = 5.0
) -> AsyncIterator[tuple[Pop3Source, NotedKeyring]]:
    keyring = NotedKeyring(list(credentials) or [password_of("ginza", SECRET)])
    async with peer.running():
        settings = Pop3Settings(host="127.0.0.1", port=peer.port, encryption=encryption, timeout_seconds=seconds)
        source = Pop3Source(settings, keyring, SystemClock(), poll_seconds=0.02)
        yield source, keyring
        await source.close()


async def _keys(source: Pop3Source) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def _all(source: Pop3Source) -> list[bytes | BaseException]:
    keys = await _keys(source)
    return await asyncio.gather(*(source.fetch(key) for key in keys), return_exceptions=True)


def _say(text: bytes) -> Answer:
    return say(text, b"")


async def _reset_in_the_middle(client: Client, _command: bytes) -> None:
    client.say(b"+OK\r\nSubject: half")
    await client.writer.drain()
    client.reset()


BAD_FETCHES: dict[str, tuple[Answer, str]] = {
    "silence": (_say(b""), "did not answer"),
    "a drop and silence": (_say(b"+OK\r\nSubject: half\r\n"), "only in drops"),
    "no end but a bare line feed": (_say(b"+OK\r\nSubject: a\n.\n"), "only in drops"),
    "reset": (_reset_in_the_middle, "in the middle"),
    "refused": (_say(b"-ERR [SYS/PERM] can't be opened\r\n"), "can't be opened"),
    "nonsense": (_say(b"220 hello\r\n"), "what POP3 does not know"),
}


@pytest.mark.parametrize("name", BAD_FETCHES)
async def test_one_mail_that_can_not_be_had_does_not_stop_the_next(name: str) -> None:
    answer, words = BAD_FETCHES[name]
    async with _source(Pop3Peer(MAILS, {b"RETR 2": answer}), seconds=0.3) as (source, _):
        first, second, third = await _all(source)
        assert (first, third) == (MAILS[0][1], MAILS[2][1])
        assert isinstance(second, CannotFetch), second
        assert words in second.what
        assert len(await _keys(source)) == 3


async def test_a_mail_above_the_limit_is_told_by_its_size_or_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MAIL_BYTES", 300_000)
    monkeypatch.setattr("todoku.sources.pop3.source.MAX_MAIL_BYTES", 300_000)
    sizes = _say(b"+OK\r\n1 300001\r\n2 20\r\n3 20\r\n.\r\n")
    endless = _say(b"+OK\r\n" + b"x" * 2_000_000)
    peer = Pop3Peer(MAILS, {b"LIST": sizes, b"RETR 2": endless})
    async with _source(peer) as (source, _):
        first, second, third = await _all(source)
        assert isinstance(first, CannotFetch)
        assert isinstance(second, CannotFetch)
        assert third == MAILS[2][1]
        assert b"RETR 1" not in peer.heard
        assert peer.heard.count(b"RETR 2") == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: a\r\n\r\n.\r\n..\r\n.x\r\n",
        b"Subject: a\r\n\r\nbare\n.\nline feeds\n\r\n",
        b"Subject: a\r\n\r\n" + b"x" * 65_520 + b"\r\n.\r\n" + b"y" * 200_000 + b"\r\n",
        b"Subject: a\r\n\r\n" + b"x" * 200_000 + b".\r\n\0\xff\r\n",
        b"",
        b".\r\n",
    ],
)
async def test_bytes_come_as_they_are(raw: bytes) -> None:
    peer = Pop3Peer(
        [(b"a", raw)], {b"RETR": _say(b"+OK\r\n" + (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")}
    )
    async with _source(peer) as (source, _):
        assert await _all(source) == [raw]


async def test_mails_that_the_server_does_not_tell_apart_all_come() -> None:
    """RFC 1939 allows one UIDL for mails of the same bytes, and some servers give it to any, or none at all."""
    mails = [(b"same", b"a\r\n"), (b"own", b"b\r\n"), (b"same", b"cc\r\n"), (b"", b"d\r\n"), (b"", b"e\r\n")]
    async with _source(peer := Pop3Peer(mails)) as (source, _):
        with capture_logs() as lines:
            before = await _keys(source)
        assert {"event": "pop3.uidl_not_unique", "mails": 4, "cause": "protocol"}.items() <= lines[-1].items()
        assert len(set(before)) == 5
        assert await _all(source) == [b"b\r\n", b"a\r\n", b"cc\r\n", b"d\r\n", b"e\r\n"]
        del peer.mails[0]
        after = await _keys(source)
        assert set(before) & set(after) == {key for key in before if key.endswith((".own", "/2")) and "same" not in key}
        assert sorted([await source.fetch(key) for key in after]) == [b"b\r\n", b"cc\r\n", b"d\r\n", b"e\r\n"]


async def test_mails_of_one_uidl_come_again_when_one_is_exchanged_for_another() -> None:
    async with _source(peer := Pop3Peer([(b"same", b"a\r\n"), (b"same", b"bb\r\n")])) as (source, _):
        before = await _keys(source)
        peer.mails[:] = [(b"same", b"bb\r\n"), (b"same", b"new one\r\n")]
        after = await _keys(source)
        assert not set(before) & set(after)
        assert [await source.fetch(key) for key in after] == [b"bb\r\n", b"new one\r\n"]


async def test_a_session_that_breaks_once_costs_no_mail() -> None:
    broke = False

    async def retrieve(client: Client, _command: bytes) -> None:
        nonlocal broke
        if not broke:
            broke = True
            await _reset_in_the_middle(client, b"")
        client.say(b"+OK\r\n" + MAILS[1][1] + b".\r\n")

    async with _source(Pop3Peer(MAILS, {b"RETR 2": retrieve})) as (source, _):
        assert await _all(source) == [raw for _, raw in MAILS]


async def test_the_line_end_that_pop3_adds_is_taken_away_when_the_size_says_so() -> None:
    mails = [(b"a", b"Subject: a\r\n\r\nend\r\n"), (b"b", b"Subject: b\r\n\r\nend\r\n")]
    sizes = _say(b"+OK\r\n1 %d\r\n2 %d\r\n.\r\n" % (len(mails[0][1]) - 2, len(mails[1][1]) - 4))
    async with _source(Pop3Peer(mails, {b"LIST": sizes})) as (source, _):
        assert await _all(source) == [mails[0][1][:-2], mails[1][1]], "four less: it counts line ends as one byte"


async def test_a_server_without_uidl_is_said() -> None:
    async with _source(Pop3Peer(MAILS, {b"UIDL": _say(b"-ERR what\r\n")})) as (source, _):
        with pytest.raises(CannotLook, match="can't be told apart") as caught:
            await _keys(source)
        assert caught.value.cause is Cause.PROTOCOL


@pytest.mark.parametrize(
    "answers",
    [
        {b"STAT": _say(b"+OK many\r\n")},
        {b"LIST": _say(b"+OK\r\nx y\r\n.\r\n")},
        {b"UIDL": _say(b"+OK\r\n" + b"1 a\r\n" * 10)},
        {b"UIDL": _say(b"+OK\r\n" + b"x" * 300_000)},
        {b"CAPA": _say(b"+OK\r\n" + b"X\r\n" * 1_000)},
    ],
)
async def test_a_server_that_lists_nonsense_is_told_as_that(answers: dict[bytes, Answer]) -> None:
    async with _source(Pop3Peer(MAILS, answers)) as (source, _):
        with pytest.raises(CannotLook) as caught:
            await _keys(source)
        assert caught.value.cause is Cause.PROTOCOL


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (b"-ERR [AUTH] wrong", True),
        (b"-ERR wrong password", True),
        (b"-ERR [IN-USE] somebody reads", False),
        (b"-ERR [LOGIN-DELAY] later", False),
        (b"-ERR [SYS/TEMP] the directory is away", False),
        (b"-ERR mailbox is locked", False),
        (b"-ERR Server Unavailable. 21", False),
    ],
)
async def test_a_server_in_trouble_is_no_refusal(said: bytes, refused: bool) -> None:
    async with _source(Pop3Peer(MAILS, {b"PASS": _say(said + b"\r\n")})) as (source, keyring):
        with pytest.raises(CannotLook) as caught:
            await _keys(source)
        assert caught.value.cause is (Cause.CREDENTIAL if refused else Cause.UNREACHABLE)
        assert bool(keyring.refusals) is refused


async def test_a_server_that_asks_again_and_again_is_left() -> None:
    async def ask(client: Client, _command: bytes) -> None:
        for _ in range(1_000):
            client.say(b"+ \r\n")
            await client.line()

    capa = _say(b"+OK\r\nSASL PLAIN\r\n.\r\n")
    async with _source(Pop3Peer(MAILS, {b"CAPA": capa, b"AUTH": ask})) as (source, _):
        with pytest.raises(CannotLook) as caught:
            await _keys(source)
        assert caught.value.cause is Cause.PROTOCOL


async def test_a_server_that_repeats_the_password_does_not_get_it_into_an_error() -> None:
    async with _source(Pop3Peer(MAILS, {b"PASS": _say(f"-ERR not {SECRET}\r\n".encode())})) as (source, keyring):
        with pytest.raises(CannotLook) as caught:
            await _keys(source)
        assert SECRET not in keyring.refusals[0][1] + caught.value.what


@pytest.mark.parametrize(
    "credential", [password_of("ginza\r\nDELE 1", "x"), password_of("a", "x\nDELE 1"), token_of("a", "x\0y")]
)
async def test_no_credential_can_begin_a_command(credential: Credential) -> None:
    peer = Pop3Peer(MAILS)
    async with _source(peer, credential) as (source, keyring):
        with pytest.raises(CannotLook):
            await _keys(source)
        assert "control character" in keyring.refusals[0][1]
        assert not any(line.startswith((b"USER", b"PASS", b"DELE", b"AUTH")) for line in peer.heard)


@pytest.mark.parametrize(
    ("said", "words"),
    [(b"+OK begin\r\n+OK hers\r\n", "in clear after it agreed"), (b"-ERR no\r\n", "does not begin TLS")],
)
async def test_without_tls_nothing_is_said_when_tls_is_wanted(said: bytes, words: str) -> None:
    peer = Pop3Peer(MAILS, {b"STLS": _say(said)})
    async with _source(peer, encryption=Encryption.STARTTLS) as (source, keyring):
        with pytest.raises(CannotLook, match=words) as caught:
            await _keys(source)
        assert caught.value.cause is Cause.PROTOCOL
        assert keyring.refusals == []
        assert peer.heard == [b"STLS"]


async def test_nothing_is_ever_removed_and_utf8_is_asked_for_before_the_login() -> None:
    capa = _say(b"+OK\r\nUTF8\r\nUIDL\r\nEXPIRE 0\r\n.\r\n")
    peer = Pop3Peer(MAILS, {b"CAPA": capa})
    async with _source(peer) as (source, _):
        assert len(await _all(source)) == 3
        await source.until_changed(0.05)
        await source.close()
        commands = [line.split()[0] for line in peer.heard]
        assert {b"DELE", b"QUIT", b"RSET"}.isdisjoint(commands)
        assert commands[:4] == [b"CAPA", b"UTF8", b"USER", b"PASS"]


async def test_a_mail_that_was_removed_meanwhile_has_vanished() -> None:
    async with _source(peer := Pop3Peer(MAILS)) as (source, _):
        keys = await _keys(source)
        del peer.mails[1]
        await source.until_changed(0.0)  # ends the session, so numbers are not what they were
        assert await source.fetch(keys[2]) == MAILS[2][1]
        with pytest.raises(MailVanished):
            await source.fetch(keys[1])


async def test_a_server_that_wants_pauses_gets_them() -> None:
    """LOGIN-DELAY (RFC 2449 section 6.5): the first look after 0.02 seconds learns it, the next one waits."""
    peer = Pop3Peer(MAILS, {b"CAPA": _say(b"+OK\r\nLOGIN-DELAY 900\r\n.\r\n")})
    async with _source(peer) as (source, _):
        await _keys(source)
        await source.until_changed(0.2)
        assert peer.connections == 2
