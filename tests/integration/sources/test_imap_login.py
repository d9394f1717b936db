"""Logging in at IMAP servers: what is refused, what is only trouble, and that nothing is said too early."""

from __future__ import annotations

import base64

import pytest
from tests.integration.sources.imap_bench import password_of, token_of
from tests.integration.sources.imap_peer import MAILS, SECRET, Answer, Client, ImapPeer, imap_source, keys_of, say

from todoku.sources.credentials import Credential
from todoku.sources.errors import CannotLook, Cause
from todoku.sources.tls import Encryption


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (b"NO [AUTHENTICATIONFAILED] wrong", True),
        (b"NO [EXPIRED] old", True),
        (b"NO LOGIN failed.", True),
        (b"BAD that is odd", True),
        (b"NO [UNAVAILABLE] the directory is away", False),
        (b"NO [LIMIT] enough", False),
        (b"NO [ALERT] Too many simultaneous connections. (Failure)", False),
        (b"NO Server Unavailable. 15", False),
    ],
)
async def test_a_server_in_trouble_is_no_refusal(said: bytes, refused: bool) -> None:
    async with imap_source(ImapPeer(MAILS, {b"LOGIN": say(b"", said)})) as (source, keyring):
        with pytest.raises(CannotLook) as caught:
            await keys_of(source)
        assert caught.value.cause is (Cause.CREDENTIAL if refused else Cause.UNREACHABLE)
        assert bool(keyring.refusals) is refused


async def test_a_server_that_repeats_the_password_does_not_get_it_into_an_error() -> None:
    said = f"NO wrong password {SECRET}\x1b[2J".encode()
    async with imap_source(ImapPeer(MAILS, {b"LOGIN": say(b"", said)})) as (source, keyring):
        with pytest.raises(CannotLook) as caught:
            await keys_of(source)
        told = keyring.refusals[0][1] + caught.value.what
        assert SECRET not in told
        assert "\x1b" not in told


async def test_letters_of_any_kind_travel_counted() -> None:
    """A password outside of ASCII can't be a quoted string of LOGIN; it comes after its length."""
    got: list[bytes] = []

    async def login(client: Client, command: bytes) -> None:
        got.append(command)
        for _ in range(2):
            client.say(b"+ go on\r\n")
            got.append(await client.line())
        client.end()

    async with imap_source(ImapPeer(MAILS, {b"LOGIN": login})) as (source, _):
        assert len(await keys_of(source)) == 3
        size = len(SECRET.encode())
        assert got == [b"LOGIN {5}", b"ginza {%d}" % size, SECRET.encode()]


async def test_a_password_is_not_said_where_the_server_forbids_it() -> None:
    async with imap_source(ImapPeer(MAILS, capabilities=b"IMAP4rev1 LOGINDISABLED")) as (source, keyring):
        with pytest.raises(CannotLook) as caught:
            await keys_of(source)
        assert caught.value.cause is Cause.CREDENTIAL
        assert "offers no way" in keyring.refusals[0][1]


@pytest.mark.parametrize(
    "credential",
    [
        password_of("ginza\r\nT9 DELETE INBOX", "x"),
        password_of("ginza", "x\nT9 DELETE INBOX"),
        token_of("ginza", "x\0y"),
    ],
)
async def test_no_credential_can_begin_a_command(credential: Credential) -> None:
    peer = ImapPeer(MAILS, capabilities=b"IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2")
    async with imap_source(peer, credential) as (source, keyring):
        with pytest.raises(CannotLook):
            await keys_of(source)
        assert "control character" in keyring.refusals[0][1]
        assert peer.heard == []


async def test_no_folder_can_begin_a_command() -> None:
    name = 'a"\\b\r\nT9 DELETE INBOX'
    peer = ImapPeer(MAILS)
    async with imap_source(peer, password_of("ginza", "x"), folder=name) as (source, _):
        assert len(await keys_of(source)) == 3, "encoded, CR and LF are letters like others"
        assert b'EXAMINE "a\\"\\\\b&AA0ACg-T9 DELETE INBOX"' in [line.partition(b" ")[2] for line in peer.heard]
    peer = ImapPeer(MAILS, capabilities=b"IMAP4rev1 UTF8=ACCEPT")
    async with imap_source(peer, password_of("ginza", "x"), folder=name) as (source, _):
        with pytest.raises(CannotLook, match="control character") as caught:
            await keys_of(source)
        assert caught.value.cause is Cause.MISSING
        assert not any(b"EXAMINE" in line or b"DELETE" in line for line in peer.heard)


async def test_a_server_that_knows_utf8_gives_mails_as_they_are() -> None:
    """RFC 6858: without ENABLE UTF8=ACCEPT it may rewrite their headers; names of folders are UTF-8 then."""
    peer = ImapPeer(MAILS, capabilities=b"IMAP4rev1 ENABLE UTF8=ACCEPT")
    async with imap_source(peer, password_of("ginza", "x"), folder="予約") as (source, _):
        assert len(await keys_of(source)) == 3
        commands = [line.partition(b" ")[2] for line in peer.heard]
        assert commands.index(b"ENABLE UTF8=ACCEPT") < commands.index('EXAMINE "予約"'.encode())


@pytest.mark.parametrize("command", [b"AUTHENTICATE", b"LOGIN"])
async def test_a_server_that_asks_again_and_again_is_left(command: bytes) -> None:
    async def ask(client: Client, _command: bytes) -> None:
        for _ in range(1_000):
            client.say(b"+ more\r\n")
            await client.line()

    capabilities = b"IMAP4rev1 AUTH=PLAIN" if command == b"AUTHENTICATE" else b"IMAP4rev1"
    async with imap_source(ImapPeer(MAILS, {command: ask}, capabilities)) as (source, keyring):
        with pytest.raises(CannotLook, match="again and again") as caught:
            await keys_of(source)
        assert caught.value.cause is Cause.PROTOCOL
        assert keyring.refusals == []


@pytest.mark.parametrize("mechanism", [b"XOAUTH2", b"OAUTHBEARER"])
async def test_what_is_wrong_with_a_token_is_told_in_the_servers_words(mechanism: bytes) -> None:
    got: list[bytes] = []

    async def authenticate(client: Client, _command: bytes) -> None:
        client.say(b"+ \r\n")  # no SASL-IR: it asks for the first message
        got.append(base64.b64decode(await client.line()))
        client.say(b"+ " + base64.b64encode(b'{"status":"invalid_token"}') + b"\r\n")
        got.append(base64.b64decode(await client.line()))
        client.end(b"NO [AUTHENTICATIONFAILED] no")

    peer = ImapPeer(MAILS, {b"AUTHENTICATE " + mechanism: authenticate}, b"IMAP4rev1 AUTH=" + mechanism)
    async with imap_source(peer, token_of("ginza,1=", "tok-1234567")) as (source, keyring):
        with pytest.raises(CannotLook):
            await keys_of(source)
        assert "invalid_token" in keyring.refusals[0][1]
        assert "tok-1234567" not in keyring.refusals[0][1]
        if mechanism == b"XOAUTH2":
            assert got == [b"user=ginza,1=\1auth=Bearer tok-1234567\1\1", b""]
        else:
            head = b"n,a=ginza=2C1=3D,\1host=127.0.0.1\1port=%d\1" % peer.port
            assert got == [head + b"auth=Bearer tok-1234567\1\1", b"\1"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (say(b"", b"OK begin\r\n* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hers"), "in clear after it agreed"),
        (say(b"", b"NO not here"), "does not begin TLS"),
        (say(b"", b"BAD not here"), "does not begin TLS"),
    ],
)
async def test_without_tls_nothing_is_said_when_tls_is_wanted(answer: Answer, words: str) -> None:
    """CVE-2021-33515 and its siblings: what stands in clear before TLS may be anybody's."""
    peer = ImapPeer(MAILS, {b"STARTTLS": answer}, b"IMAP4rev1 STARTTLS AUTH=PLAIN")
    async with imap_source(peer, encryption=Encryption.STARTTLS) as (source, keyring):
        with pytest.raises(CannotLook, match=words) as caught:
            await keys_of(source)
        assert caught.value.cause is Cause.PROTOCOL
        assert keyring.refusals == []
        assert [line.partition(b" ")[2] for line in peer.heard] == [b"STARTTLS"]


async def test_a_server_that_lets_us_in_before_tls_is_not_believed() -> None:
    peer = ImapPeer(MAILS)
    peer.greeting = b"* PREAUTH welcome\r\n"
    async with imap_source(peer, encryption=Encryption.STARTTLS) as (source, _):
        with pytest.raises(CannotLook, match="before TLS") as caught:
            await keys_of(source)
        assert caught.value.cause is Cause.PROTOCOL
        assert peer.heard == []
