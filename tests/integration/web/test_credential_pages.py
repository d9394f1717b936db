"""The page of credentials: what the project logs in with, and what the installation shows that serves it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dns.asyncresolver
import pytest
from django.test import Client
from tests.integration.credentials.pebble import Pebble, free_port, running

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.served_types import Place, ServedKind, Sighting
from todoku.credentials.sightings import SightingBook
from todoku.credentials.types import Facts
from todoku.kernel.clock import VirtualClock
from todoku.mail.dkim import KeyKind, new_key
from todoku.projects.types import Role
from todoku.web import ports

from .conftest import CLOCK, SECRET, House

NOW_UTC = CLOCK.now_utc()
DOOR = Sighting(
    kind=ServedKind.TLS_CERTIFICATE,
    place=Place.SMTP_DOOR,
    name="mx.shop.example",
    facts=Facts(
        issuer="CN=R13,O=Let's Encrypt,C=US",
        not_before_utc=NOW_UTC - timedelta(days=30),
        not_after_utc=NOW_UTC + timedelta(days=60),
        fingerprint="ab",
    ),
    since_utc=NOW_UTC - timedelta(days=30),
    used_at_utc=NOW_UTC - timedelta(minutes=3),
)


def _key(domain: str, record: str = "v=DKIM1; k=ed25519; p=AAAA") -> Sighting:
    return Sighting(
        kind=ServedKind.DKIM_KEY,
        place=Place.SIGNATURES,
        name=f"t1._domainkey.{domain}",
        domain=domain,
        facts=Facts(),
        since_utc=NOW_UTC - timedelta(days=40),
        record=record,
    )


@pytest.fixture
def tell(web_nats_url: str, house: House) -> Iterator[Callable[..., None]]:
    """Return a function that tells as the processes of a machine do; what was told is taken away again."""

    async def put(sightings: list[Sighting], ago_seconds: float) -> None:
        bus = await Bus.connect(web_nats_url, name="test-tell")
        clock = VirtualClock(CLOCK.now_utc() - timedelta(seconds=ago_seconds))
        await SightingBook(bus, clock).tell("intake", "mail-host-1", "/x", sightings)
        await bus.close()

    async def forget() -> None:
        bus = await Bus.connect(web_nats_url, name="test-tell")
        bucket = bus.bucket(CREDENTIALS_BUCKET)
        for key in await bucket.keys():
            if key.startswith("_"):
                await bucket.delete(key)
        await bus.close()

    yield lambda *sightings, ago_seconds=0.0: asyncio.run(put(list(sightings), ago_seconds))
    asyncio.run(forget())


@pytest.fixture
def client(house: House, sign_in: Callable[[str], Client]) -> Client:
    client = sign_in(house.email(Role.OPERATOR))
    client.post("/language", {"language": "en"})
    return client


def _page(client: Client) -> str:
    return client.get("/credentials").content.decode()


def test_an_operator_sees_what_serves_the_project_and_no_other_tenant_s_names(
    house: House, client: Client, tell: Callable[..., None]
) -> None:
    assert "No door shows a certificate" in _page(client)
    tell(DOOR, _key("shop.example"), _key("rival.example"))
    page = _page(client)
    assert "mx.shop.example" in page
    assert "mail-host-1" in page
    assert "Let&#x27;s Encrypt" in page
    assert "67 % of its life left" in page
    assert "last handshake" in page
    assert "t1._domainkey.shop.example" in page
    assert "40 days old" in page
    assert "rival.example" not in page
    assert house.credential in page
    assert f"used by {house.source}" in page
    assert SECRET not in page


@pytest.mark.parametrize("role", [Role.MANAGER, Role.MARKETER, Role.VIEWER])
def test_who_does_not_operate_sees_the_project_s_own_only(
    role: Role, house: House, sign_in: Callable[[str], Client], tell: Callable[..., None]
) -> None:
    tell(DOOR, _key("shop.example"))
    page = _page(sign_in(house.email(role)))
    assert house.credential in page
    assert "mx.shop.example" not in page
    assert "_domainkey" not in page


def test_who_has_gone_silent_is_not_seen_since(client: Client, tell: Callable[..., None]) -> None:
    tell(DOOR, ago_seconds=3_600)
    page = _page(client)
    assert "Not seen any more" in page
    assert "not seen since" in page
    client.post("/language", {"language": "ja"})
    page = _page(client)
    assert "not seen since" not in page
    assert "最後に確認" in page


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Pebble]:
    with running(tmp_path, free_port()) as authority:
        yield authority


def test_dns_is_asked_by_a_button(
    client: Client, tell: Callable[..., None], authority: Pebble, connected: ports.Ports
) -> None:
    key = new_key("shop.example", "t1", KeyKind.ED25519)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], authority.dns_port
    ports.connect(dataclasses.replace(connected, resolver=resolver))
    tell(DOOR, _key("shop.example", key.record()))
    assert "nobody has asked DNS yet" in _page(client)
    page = client.post("/credentials/ask-dns", follow=True).content.decode()
    assert "DNS knows no such record" in page
    assert "Not in DNS" in page
    assert key.record().replace("+", "&#x2B;") in page or key.record() in page
    authority.set_txt(key.record_name, key.record())
    page = client.post("/credentials/ask-dns", follow=True).content.decode()
    assert "DNS answers with this key" in page
    assert "Not in DNS" not in page


def test_certificates_of_the_installation_are_not_made_by_a_form(client: Client) -> None:
    assert "TLS certificate" not in client.get("/credentials/new").content.decode()
    form = {"kind": "tls_certificate", "name": "mx", "s-certificate_pem": "x"}
    client.post("/credentials/new", form)
    assert client.get("/credentials/mx/replace").status_code == 404


def test_without_the_bus_the_page_says_so(client: Client) -> None:
    from todoku.web import live

    live.hub.reset()
    kept = ports.ports()
    ports.connect(dataclasses.replace(kept, nats_url=lambda: "nats://127.0.0.1:1"))
    assert "nobody can say how the credentials stand" in _page(client)
