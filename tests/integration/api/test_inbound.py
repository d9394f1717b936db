"""The door of mail providers: over a real server, with a real vault and bus, and no database at all."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.db.backends.base.base import BaseDatabaseWrapper
from granian.constants import Interfaces
from granian.server.embed import Server
from tests.integration.sources import webhook_bench as bench
from tests.integration.sources.webhook_bench import MAIL as RAW
from tests.integration.sources.webhook_bench import Amazon

from todoku.api.inbound import door as door_module
from todoku.api.inbound import ports
from todoku.api.inbound.door import InboundDoor
from todoku.api.inbound.rebuild import rebuild
from todoku.bus.connection import Bus
from todoku.bus.streams import MAIL
from todoku.kernel.clock import VirtualClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.types import Arrival
from todoku.sources.webhook import Call, MemoryBook, Provider, Reception
from todoku.sources.webhook import reception as reception_module
from todoku.sources.webhook.memory import Octets
from todoku.vault import Vault, open_vault
from todoku.vault.errors import VaultUnavailable


@dataclass
class Yard:
    """What stands behind the door."""

    bus: Bus
    vault: Vault
    project: str
    book: MemoryBook = field(default_factory=MemoryBook)
    amazon: Amazon = field(default_factory=Amazon)

    def token(self, provider: Provider, *secrets: Any) -> str:
        return self.book.add(bench.place_for(provider, self.project, *secrets))

    async def raw_mails(self) -> list[bytes]:
        found = self.bus.messages(MAIL, f"mail.{self.project}.*")
        keys = [msgspec.msgpack.decode(one.payload, type=Arrival).vault_key async for one in found]
        return [await self.vault.get(key) for key in keys]


@pytest.fixture
async def yard(nats_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    bus = await Bus.connect(nats_url, name="test-inbound")
    await bus.declare()
    made = Yard(bus, open_vault("", tmp_path / "vault"), f"hooks-{uuid4().hex[:12]}")
    writer = ArrivalWriter(made.vault, bus, VirtualClock(bench.NOW))
    ports.connect(Reception(made.book, writer, rebuild=rebuild, web=made.amazon))
    yield made
    ports.connect(None)
    await bus.purge(MAIL, f"mail.{made.project}.*")
    await made.vault.close()
    await bus.close()


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let every look at the database fail; returns who tried."""
    tried: list[str] = []

    def refuse(_self: object, *_args: object, **_more: object) -> None:
        tried.append("database")
        raise AssertionError("the database was asked")

    for name in ("connect", "ensure_connection", "cursor", "_cursor"):
        monkeypatch.setattr(BaseDatabaseWrapper, name, refuse)
    yield tried
    assert tried == []


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    """Serve as the role `web` does; yields the address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = Server(
        application, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, websockets=False, log_enabled=False
    )
    running = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        await running


@pytest.fixture
async def address(yard: Yard, no_database: list[str]) -> AsyncIterator[str]:
    async with serving(InboundDoor(ASGIHandler())) as found:
        yield found


async def post(url: str, call: Call, **headers: str) -> tuple[int, str, str]:
    """Make a call; returns status, text and Retry-After."""
    sent = {**call.headers, **headers, "content-type": call.content_type}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(call.body), headers=sent, allow_redirects=False) as answer,
    ):
        return answer.status, (await answer.text()).strip(), answer.headers.get("retry-after", "")


async def test_all_providers_hand_over_without_a_database(yard: Yard, address: str) -> None:
    calls = {
        "sendgrid": bench.with_headers(bench.sendgrid(), bench.basic(bench.password())),
        "postmark": bench.with_headers(bench.postmark(), bench.basic(bench.password())),
        "mailgun": bench.mailgun(),
        "ses": yard.amazon.mail(),
    }
    secrets = {"sendgrid": [bench.password()], "postmark": [bench.password()], "mailgun": [bench.signing_key()]}
    for name, call in calls.items():
        token = yard.token(Provider(name), *secrets.get(name, []))
        end = "/mime" if name == "mailgun" else ""
        for _ in range(2):
            status, text, _ = await post(f"{address}/inbound/{name}/{token}{end}", call)
            assert (status, text[:8]) == (200, "kept as ")
    assert await yard.raw_mails() == [RAW] * 4


async def test_pieces_come_in_by_the_same_door(yard: Yard, address: str) -> None:
    token = yard.token(Provider.MAILGUN, bench.signing_key())
    assert (await post(f"{address}/inbound/mailgun/{token}", bench.mailgun_pieces()))[0] == 200
    assert (await yard.raw_mails())[0].startswith(b"X-Todoku-Rebuilt: mailgun\r\n")


async def test_what_django_would_refuse_is_taken(yard: Yard, address: str) -> None:
    """A host that is not allowed is a 400 there, an address with a slash a redirect, a field of 3 MB a 400."""
    token = yard.token(Provider.SENDGRID)
    raw = RAW + b"\r\n0123456789abcdef" * 200_000
    status, _, _ = await post(f"{address}/inbound/sendgrid/{token}/", bench.sendgrid(raw), host="other.example")
    assert status == 200
    assert await yard.raw_mails() == [raw]


async def test_a_vault_that_is_away_is_said_so_that_the_provider_tries_again(
    yard: Yard, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{address}/inbound/postmark/{yard.token(Provider.POSTMARK)}"

    async def full(_project_id: str, _content: bytes) -> object:
        raise VaultUnavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(yard.vault, "put", full)
        assert await post(url, bench.postmark()) == (503, "can't be kept now", "60")
    assert (await post(url, bench.postmark()))[0] == 200
    assert await yard.raw_mails() == [RAW]


async def test_nothing_but_200_and_503_is_ever_said_to_a_call(yard: Yard, address: str) -> None:
    postmark, mailgun = yard.token(Provider.POSTMARK, bench.password()), yard.token(Provider.MAILGUN)
    calls = {
        f"/inbound/postmark/{postmark}": bench.postmark(),  # no password
        f"/inbound/sendgrid/{postmark}": bench.sendgrid(),  # another provider's
        f"/inbound/mailgun/{mailgun}?x=1": Call("text/plain", {}, b"\xff"),
        "/inbound/postmark/" + "x" * 43: bench.postmark(),
        "/inbound/postmark/short": bench.postmark(),
        "/inbound/nobody/" + "x" * 43: bench.postmark(),
        "/inbound/": bench.postmark(),
        f"/inbound/postmark/{postmark}/more/%2e%2e/%00": bench.postmark(),
    }
    answers = {path: (await post(address + path, call))[0] for path, call in calls.items()}
    assert set(answers.values()) == {200, 503}
    assert [path for path, status in answers.items() if status == 200] == [f"/inbound/mailgun/{mailgun}?x=1"]


@pytest.mark.parametrize("provider", Provider)
async def test_probes_find_a_known_address_and_no_other(provider: Provider, yard: Yard, address: str) -> None:
    known = f"{address}/inbound/{provider}/{yard.token(provider, bench.password())}"
    unknown = f"{address}/inbound/{provider}/{'x' * 43}"
    async with aiohttp.ClientSession() as session:
        for method, url, wanted in (
            ("GET", known, 200),
            ("HEAD", known, 200),
            ("GET", unknown, 404),
            ("HEAD", unknown, 404),
            ("OPTIONS", known, 204),
            ("PUT", known, 405),
            ("DELETE", unknown, 405),
        ):
            async with session.request(method, url) as answer:
                assert (method, url, answer.status) == (method, url, wanted)
                assert bool(await answer.read()) == (method == "GET")
    assert await yard.raw_mails() == []


async def test_before_config_has_connected_it_calls_are_put_off(yard: Yard, address: str) -> None:
    token = yard.token(Provider.POSTMARK)
    ports.connect(None)
    assert (await post(f"{address}/inbound/postmark/{token}", bench.postmark()))[0] == 503
    async with aiohttp.ClientSession() as session, session.get(f"{address}/inbound/postmark/{token}") as answer:
        assert answer.status == 503


async def test_a_giant_body_is_put_off_and_the_next_is_taken(
    yard: Yard, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reception_module.MAX_CALL_BYTES, Provider.SENDGRID, 1_000_000)
    url = f"{address}/inbound/sendgrid/{yard.token(Provider.SENDGRID)}"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    for body in (b"x" * 1_000_001, endless()):
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=io.BytesIO(body) if isinstance(body, bytes) else body) as answer,
        ):
            assert answer.status == 503
    assert [why for _, why in yard.book.not_proven] == ["a call was larger than 0 MB"] * 2
    assert (await post(url, bench.sendgrid()))[0] == 200
    assert await yard.raw_mails() == [RAW]


@pytest.mark.parametrize(("provider", "megabytes"), [(one, 112 if one == "postmark" else 64) for one in Provider])
async def test_the_limit_is_64_mb_and_what_postmark_may_send(provider: Provider, megabytes: int, yard: Yard) -> None:
    door = InboundDoor(_nobody)
    path = f"/inbound/{provider}/{yard.token(provider)}"
    statuses = []
    for length in (megabytes * 1024 * 1024, megabytes * 1024 * 1024 + 1):
        client = Client(door, path, content_length=str(length))
        client.give(b"", more=False)
        statuses.append(await client.status())
    assert statuses == [200, 503], "an empty call is kept as it came; one that is announced too large is put off"


class Client:
    """Speaks ASGI to a door, one message after the other."""

    def __init__(self, door: InboundDoor, path: str, **headers: str) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "headers": pairs}
        self.task = asyncio.create_task(door(scope, self.inbox.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    def give(self, body: bytes, *, more: bool = True) -> None:
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.inbox.put_nowait({"type": "http.disconnect"})

    async def has_read(self) -> None:
        """Return when the door asks for more than it was given."""
        async with asyncio.timeout(20):
            while not self.inbox.empty() or not vars(self.inbox)["_getters"]:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def status(self) -> int | None:
        async with asyncio.timeout(20):
            await self.task
        return self.sent[0]["status"] if self.sent else None


async def _nobody(*_args: object) -> None:
    raise AssertionError("handed on")


async def test_more_than_fits_into_memory_is_put_off(yard: Yard) -> None:
    octets = Octets(10_000)
    door = InboundDoor(_nobody, octets=octets)
    path = f"/inbound/postmark/{yard.token(Provider.POSTMARK)}"
    first = Client(door, path)
    first.give(b" " * 6_000)
    await first.has_read()
    second = Client(door, path)
    second.give(b" " * 3_000)
    second.give(b" " * 3_000, more=False)
    third = Client(door, path, content_length="9999")
    third.give(b" " * 9_999, more=False)
    assert [await second.status(), await third.status()] == [503, 503]
    assert dict(second.sent[0]["headers"])[b"retry-after"] == b"60"
    first.give(bench.postmark().body, more=False)
    assert await first.status() == 200
    assert octets.left == 10_000
    assert await yard.raw_mails() == [RAW]


async def test_a_client_that_leaves_or_stands_still_holds_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = Octets(10_000)
    door = InboundDoor(_nobody, octets=octets)
    path = f"/inbound/postmark/{yard.token(Provider.POSTMARK)}"
    gone = Client(door, path)
    gone.give(bench.postmark().body[:-1])
    gone.leave()
    assert await gone.status() is None
    monkeypatch.setattr(door_module, "BODY_SECONDS", 0.0)
    monkeypatch.setattr(door_module, "_DRAIN_SECONDS", 0.0)
    assert await Client(door, path).status() == 503
    assert octets.left == 10_000
    assert await yard.raw_mails() == []


async def test_nothing_is_read_before_the_token_is_known(yard: Yard) -> None:
    octets = Octets(0)
    unknown = Client(InboundDoor(_nobody, octets=octets), "/inbound/postmark/" + "x" * 43)
    unknown.give(b"x" * 50_000, more=False)
    assert await unknown.status() == 503
    assert ports.reception().counts["webhook.busy"] == 0


async def test_everything_else_is_handed_on() -> None:
    handed: list[str] = []

    async def application(scope: Any, _receive: object, _send: object) -> None:
        handed.append(scope.get("path", scope["type"]))

    door = InboundDoor(application)
    for scope in ({"type": "http", "path": "/inboundx"}, {"type": "http", "path": "/"}, {"type": "lifespan"}):
        await door(scope, _nobody, _nobody)  # type: ignore[arg-type]
    assert handed == ["/inboundx", "/", "lifespan"]
