"""Servers that accept and say nothing, and S3 servers whose certificate can't be believed; the rest of the list of bad
input is in docs/sources.md with its tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.integration.smtp.certificates import CertificateFiles
from tests.integration.sources.imap_bench import password_of
from tests.integration.sources.s3_servers import REGION, STATIC
from tests.integration.sources.test_s3_peers import listing

from todoku.kernel.clock import SystemClock
from todoku.kernel.retry import BackOff
from todoku.sources.conformance import NotedKeyring
from todoku.sources.errors import CannotLook, Cause
from todoku.sources.imap import ImapSettings, ImapSource
from todoku.sources.pop3 import Pop3Settings, Pop3Source
from todoku.sources.s3 import S3Settings, S3Source, client
from todoku.sources.tls import Encryption
from todoku.sources.types import MailSource

_SOON_SECONDS = 0.2


@asynccontextmanager
async def _server(says: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen; answer each request with `says`, or with nothing at all, and keep the connection open."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while line := await reader.readline():
                if line == b"\r\n":
                    writer.write(says)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()


def _imap(encryption: Encryption) -> Callable[[int, NotedKeyring], MailSource]:
    def make(port: int, keyring: NotedKeyring) -> MailSource:
        settings = ImapSettings(host="127.0.0.1", port=port, encryption=encryption, timeout_seconds=_SOON_SECONDS)
        return ImapSource(settings, keyring, SystemClock())

    return make


def _pop3(encryption: Encryption) -> Callable[[int, NotedKeyring], MailSource]:
    def make(port: int, keyring: NotedKeyring) -> MailSource:
        settings = Pop3Settings(host="127.0.0.1", port=port, encryption=encryption, timeout_seconds=_SOON_SECONDS)
        return Pop3Source(settings, keyring, SystemClock())

    return make


def _s3(scheme: str, ca_pem: str = "", seconds: float = _SOON_SECONDS) -> Callable[[int, NotedKeyring], MailSource]:
    def make(port: int, keyring: NotedKeyring) -> MailSource:
        settings = S3Settings(
            bucket="mails", region=REGION, endpoint=f"{scheme}://127.0.0.1:{port}", allow_http=scheme == "http",
            connect_seconds=seconds, answer_seconds=seconds, ca_pem=ca_pem,
        )  # fmt: skip
        return S3Source(settings, keyring, SystemClock())

    return make


KINDS = {
    "imap": _imap(Encryption.NONE),
    "imap, TLS": _imap(Encryption.TLS),
    "imap, STARTTLS": _imap(Encryption.STARTTLS),
    "pop3": _pop3(Encryption.NONE),
    "pop3, TLS": _pop3(Encryption.TLS),
    "pop3, STARTTLS": _pop3(Encryption.STARTTLS),
    "s3": _s3("http"),
    "s3, TLS": _s3("https"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_accepts_and_says_nothing_is_unreachable(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_BACK_OFF", BackOff(0.01, 0.01))
    keyring = NotedKeyring([STATIC if kind.startswith("s3") else password_of("ginza", "secret")])
    async with _server(b"") as port:
        source = KINDS[kind](port, keyring)
        with pytest.raises(CannotLook) as caught:
            await _keys(source)
        await source.close()
    assert caught.value.cause is Cause.UNREACHABLE
    assert caught.value.what
    assert keyring.refusals == [], "a credential that was never looked at is not to blame"


@pytest.mark.parametrize(
    ("days", "from_days", "alternative", "words"),
    [
        (-1.0, -30.0, True, "certificate has expired"),
        (30.0, 1.0, True, "not yet valid"),
        (30.0, -1.0, False, "mismatch"),
    ],
)
async def test_a_bad_certificate_of_an_s3_server_is_told_as_what_it_is_until_it_is_a_good_one(
    tmp_path: Path, days: float, from_days: float, alternative: bool, words: str
) -> None:
    files = CertificateFiles(tmp_path, datetime.now(UTC))  # TLS asks the machine's own clock
    files.renew("s3.example", days=days, from_days=from_days, alternative=alternative)
    keyring = NotedKeyring([STATIC])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    async with _server(listing("1"), context) as port:
        source = _s3("https", files.certificate.read_text(), 5.0)(port, keyring)
        with pytest.raises(CannotLook, match=words) as caught:
            await _keys(source)
        await source.close()
        assert caught.value.cause is Cause.CREDENTIAL
        assert keyring.refusals == [], "our own credential is not to blame"
        files.renew("s3.example", "127.0.0.1")
        context.load_cert_chain(files.certificate, files.key)
        mended = _s3("https", files.certificate.read_text(), 5.0)(port, keyring)
        assert await _keys(mended) == ["in/1@e"]
        await mended.close()


async def _keys(source: MailSource) -> list[str]:
    return [one.key async for one in source.list_mails()]
