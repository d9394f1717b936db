"""Two projects with people of every role, real services behind the pages, and browsers without a browser.

Rooms with models are imported inside the functions: this file is read before Django is set up. The NATS is this
room's own, because a reader of mails reads those of everybody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from todoku.bus.connection import Bus
from todoku.campaigns.types import CampaignContent
from todoku.content.starters import load_starter
from todoku.credentials.cipher import SecretCipher, new_key
from todoku.credentials.inventory import CredentialBook
from todoku.demo.sink_log import SinkMessage
from todoku.engines.nats import EmbeddedNats
from todoku.guests.types import Audience, PersonImport
from todoku.kernel.clock import SystemClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo, Role, ShopInfo
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.credentials import CredentialKind
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.vault import open_vault
from todoku.web import ports

if TYPE_CHECKING:
    from django.test import Client

PASSWORD = "a long enough password"
CLOCK = SystemClock()
CIPHER = SecretCipher([new_key()])
SECRET = "open-sesame-2026"


@dataclass(frozen=True)
class House:
    """One project with one thing of each kind in it."""

    project_id: str
    reservation_id: UUID
    arrival_id: UUID
    guest_id: UUID
    campaign_id: UUID
    source: str
    credential: str
    replay_id: UUID

    def email(self, role: Role) -> str:
        """Return who works here in that role."""
        return f"{role.value}@{self.project_id}.example"


@dataclass(frozen=True)
class Outbox:
    """A sink that received one message."""

    message: ports.OutboxMessage

    def count(self) -> int:
        return 1

    def newest(self, limit: int, offset: int) -> list[ports.OutboxMessage]:
        return [self.message][offset : offset + limit]

    def get(self, number: int) -> ports.OutboxMessage | None:
        return self.message if number == self.message.number else None


SENT = b"Subject: =?utf-8?b?5Yas44Gu6Y2L?=\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p onclick='x()'>hello</p>"


@pytest.fixture(autouse=True)
def as_in_tests() -> Iterator[None]:
    """Accept the test client's host name, and hash passwords quickly: ten people are made for each test."""
    from django.test import override_settings

    quick = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with override_settings(ALLOWED_HOSTS=["testserver"], PASSWORD_HASHERS=quick):
        yield


@pytest.fixture(scope="session")
def web_nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a NATS for this room's tests."""
    engine = EmbeddedNats(tmp_path_factory.mktemp("web-nats"))
    try:
        yield engine.start()
    finally:
        engine.stop()


@pytest.fixture
def connected(tmp_path: Path, web_nats_url: str) -> Iterator[ports.Ports]:
    """Connect the pages to a vault of their own and the real bus."""
    from todoku.web import live

    live.hub.reset()
    made = ports.Ports(
        clock=CLOCK,
        nats_url=lambda: web_nats_url,
        open_vault=lambda: open_vault("", tmp_path / "vault"),
        public_url="http://testserver",
        inventory=lambda bus: CredentialBook(bus, CIPHER, CLOCK),
        outbox=Outbox(SinkMessage(0, "news@example.com", "guest@example.com", datetime.now(UTC), SENT)),
    )
    ports.connect(made)
    yield made
    live.hub.reset()


@pytest.fixture
def houses(database: None, connected: ports.Ports, web_nats_url: str, tmp_path: Path) -> tuple[House, House]:
    """Make two projects whose ids nobody else on the bus uses."""
    return (
        _build(f"north-{new_id().hex[-12:]}", web_nats_url, tmp_path),
        _build(f"south-{new_id().hex[-12:]}", web_nats_url, tmp_path),
    )


@pytest.fixture
def house(houses: tuple[House, House]) -> House:
    """Return the first project."""
    return houses[0]


@pytest.fixture
def sign_in() -> Callable[[str], Client]:
    """Return a function that signs a person in, through the page."""
    from django.test import Client

    def enter(email: str) -> Client:
        client = Client(raise_request_exception=True)
        answer = client.post("/sign-in", {"email": email, "password": PASSWORD})
        assert answer.status_code == 302, answer.content.decode()
        return client

    return enter


def booking_mail(reference: str, name: str = "髙橋 美咲") -> bytes:
    """Return a mail that states one reservation as schema.org data."""
    start = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0).isoformat()
    statement = {
        "@context": "http://schema.org",
        "@type": "FoodEstablishmentReservation",
        "reservationNumber": reference,
        "reservationStatus": "http://schema.org/ReservationConfirmed",
        "underName": {"@type": "Person", "name": name, "email": "misaki@example.com"},
        "partySize": 4,
        "startTime": start,
        "reservationFor": {"@type": "FoodEstablishment", "name": "届屋"},
    }
    html = (
        '<html><body><p>ご予約 <img src="https://tracker.example/x.gif"></p><script type="application/ld+json">'
        f"{json.dumps(statement, ensure_ascii=False)}</script></body></html>"
    )
    head = (
        "From: Seats <noreply@seats.example>\r\nTo: r-x@in.todoku.example\r\nSubject: Reservation\r\n"
        f"Message-ID: <{reference}@seats.example>\r\nDate: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    return (head + html).encode()


async def deliver(nats_url: str, vault_folder: Path, project_id: str, raw: bytes) -> UUID:
    """Let one mail arrive."""
    bus = await Bus.connect(nats_url, name="test-deliver")
    try:
        await bus.declare()
        arrival = await ArrivalWriter(open_vault("", vault_folder), bus, CLOCK).accept(
            raw, project_id=project_id, source="import"
        )
        return arrival.arrival_id
    finally:
        await bus.close()


async def name_a_source(nats_url: str, project_id: str, source: str, credential: str, folder: Path) -> None:
    """Let the project have a source and a credential."""
    bus = await Bus.connect(nats_url, name="test-source")
    try:
        await bus.declare()
        settings: dict[str, str | int | float | bool] = {"folder": str(folder)}
        entry = SourceEntry(
            project_id=project_id, source=source, kind="maildir", settings=settings, credential_ids=(credential,)
        )
        await SourceBook(bus).add(entry)
        secrets = {"username": "reserve@example.com", "password": SECRET}
        await CredentialBook(bus, CIPHER, CLOCK).add(project_id, credential, CredentialKind.PASSWORD, secrets)
    finally:
        await bus.close()


async def read_all(nats_url: str, vault_folder: Path) -> None:
    """Read whatever arrived."""
    from todoku.intake.reader import MailReader

    bus = await Bus.connect(nats_url, name="test-read")
    try:
        await MailReader(bus, open_vault("", vault_folder), CLOCK).drain()
    finally:
        await bus.close()


def _build(project_id: str, nats_url: str, tmp_path: Path) -> House:
    from todoku.campaigns import services as campaigns
    from todoku.guests import queries as guest_queries
    from todoku.guests import services as guests
    from todoku.intake import replays
    from todoku.intake.replaying import Chosen
    from todoku.projects import services as projects
    from todoku.reservations import queries as reservations

    projects.save_project(
        ProjectInfo(
            project_id,
            f"House {project_id}",
            "Asia/Tokyo",
            "届屋",
            "news@shop.example",
            "東京都架空区1",
            "03-0000-0001",
        ),
        clock=CLOCK,
    )
    projects.save_shops(project_id, [ShopInfo("ginza", "届屋 銀座", ("届屋",))])
    for role in Role:
        projects.save_member(
            project_id,
            email=f"{role.value}@{project_id}.example",
            display_name=role.value,
            role=role,
            password=PASSWORD,
        )
    arrival_id = asyncio.run(deliver(nats_url, tmp_path / "vault", project_id, booking_mail(f"R-{project_id}")))
    asyncio.run(read_all(nats_url, tmp_path / "vault"))
    reservation = reservations.online(project_id)[0]
    person = PersonImport(
        name="山﨑 紬",
        email="tsumugi@example.com",
        consent_source="shop",
        consent_wording="ok",
        consent_given_at_utc=CLOCK.now_utc(),
    )
    guests.import_people(project_id, [person])
    starter = load_starter("ja")
    campaign_id = campaigns.create(
        project_id,
        name="冬の鍋",
        content=CampaignContent(starter.subject, starter.html, starter.text),
        audience=Audience(),
        by="test",
        clock=CLOCK,
    )
    guest_id = next(row.id for row in guest_queries.search(project_id) if row.name == "山﨑 紬")
    source, credential = f"maildir-{project_id}", f"password-{project_id}"
    asyncio.run(name_a_source(nats_url, project_id, source, credential, tmp_path / "maildir"))
    replay_id = replays.ask(project_id, Chosen(), apply=False, asked_by="test", clock=CLOCK)
    replays.stop(project_id, replay_id, by="test", clock=CLOCK)
    return House(project_id, reservation.id, arrival_id, guest_id, campaign_id, source, credential, replay_id)
