"""Amazon's addresses are asked over verified TLS, once, without following what they say."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from todoku.sources.errors import CannotLook
from todoku.sources.webhook import amazon_web
from todoku.sources.webhook.amazon_web import AmazonWeb

HOST = "sns.ap-northeast-1.amazonaws.com"
Answering = Callable[[str], Awaitable[AmazonWeb]]


class _Here(AbstractResolver):
    """Says of every host that it is a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        found = {"hostname": host, "host": "127.0.0.1", "port": self._port}
        return [{**found, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


def _certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what the server shows, and what a client believes that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "both.pem"
    file.write_bytes(pem + secret)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(file)
    return shown, ssl.create_default_context(cadata=pem.decode())


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[AmazonWeb, list[str], int]]:
    """Serve as Amazon would; gives who asks there, what was asked for, and the port."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        if request.path == "/moved":
            raise web.HTTPFound("https://evil.example/")
        if request.path == "/long":
            return web.Response(body=b"x" * 70_000)
        return web.Response(status=404 if request.path == "/gone" else 200, body=b"found")

    application = web.Application()
    application.router.add_get("/{rest:.*}", answer)
    shown, believed = _certificate(tmp_path, HOST)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=shown)
    await site.start()
    port = runner.addresses[0][1]
    yield AmazonWeb(resolver=_Here(port), tls=believed), asked, port
    await runner.cleanup()


async def test_an_answer_is_read_whole(served: tuple[AmazonWeb, list[str], int]) -> None:
    ask, asked, _ = served
    assert await ask(f"https://{HOST}/a.pem?x=1%2F2") == b"found"
    assert asked == ["/a.pem?x=1%2F2"]


@pytest.mark.parametrize(
    ("path", "why"), [("/moved", "answers 302"), ("/gone", "answers 404"), ("/long", "answer is too long")]
)
async def test_what_is_no_plain_answer_is_none(path: str, why: str, served: tuple[AmazonWeb, list[str], int]) -> None:
    ask, asked, _ = served
    with pytest.raises(CannotLook, match=why):
        await ask(f"https://{HOST}{path}")
    assert asked == [path], "asked once, and nothing followed"


async def test_a_server_that_can_not_prove_who_it_is_is_not_asked(served: tuple[AmazonWeb, list[str], int]) -> None:
    ask, asked, port = served
    with pytest.raises(CannotLook):
        await ask("https://sns.us-east-1.amazonaws.com/a.pem")
    with pytest.raises(CannotLook):
        await AmazonWeb(resolver=_Here(port))(f"https://{HOST}/a.pem")
    assert asked == []


async def test_nobody_there_and_silence_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    monkeypatch.setattr(amazon_web, "_SECONDS", 0.2)
    with pytest.raises(CannotLook):
        await AmazonWeb(resolver=_Here(port))(f"https://{HOST}/a.pem")
    silent.close()
    await silent.wait_closed()
    with pytest.raises(CannotLook):
        await AmazonWeb(resolver=_Here(port))(f"https://{HOST}/a.pem")
