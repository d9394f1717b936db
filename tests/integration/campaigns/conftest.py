"""A project whose campaigns may be sent, and people to send them to.

Rooms with models are imported inside the fixtures: this file is read before Django is set up.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import RUNS_BUCKET, SEND
from todoku.campaigns.types import CampaignContent
from todoku.content.starters import load_starter
from todoku.delivery.engine.codec import decode_order
from todoku.delivery.errors import UnreadablePayload
from todoku.guests.types import Audience, PersonImport
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo

AGREED = datetime(2026, 5, 1, tzinfo=UTC)


def starter_content() -> CampaignContent:
    starter = load_starter("ja")
    return CampaignContent(starter.subject, starter.html, starter.text)


def people(count: int, *, without_consent: int = 0, name: str = "見本 太郎") -> list[PersonImport]:
    return [
        PersonImport(
            name=name,
            email=f"guest{number:05d}@example.com",
            consent_source="form" if number >= without_consent else "",
            consent_wording="yes" if number >= without_consent else "",
            consent_given_at_utc=AGREED if number >= without_consent else None,
        )
        for number in range(count)
    ]


@pytest.fixture
def project(database: None, clock: VirtualClock) -> str:
    from todoku.projects import services as projects

    project_id = f"camp-{new_id().hex[-12:]}"
    projects.save_project(
        ProjectInfo(
            id=project_id,
            name="とどく食堂グループ",
            time_zone="Asia/Tokyo",
            sender_name="とどく食堂",
            sender_address="news@restaurant.example",
            postal_address="東京都架空区見本町1-2-3",
            contact="03-0000-0000",
        ),
        clock=clock,
    )
    return project_id


@pytest.fixture
async def bus(nats_url: str, project: str) -> AsyncIterator[Bus]:
    """Connect; afterwards leave no order of this project for other tests' senders to find."""
    connected = await Bus.connect(nats_url, name="test-campaigns")
    await connected.declare()
    yield connected
    for key in await connected.bucket(RUNS_BUCKET).keys():
        await _forget_order(connected, key, project)
    await connected.close()


async def _forget_order(bus: Bus, key: str, project: str) -> None:
    entry = await bus.bucket(RUNS_BUCKET).get(key)
    try:
        if entry is None or decode_order(entry.value).project_id != project:
            return
    except UnreadablePayload:
        return  # another test's
    await bus.bucket(RUNS_BUCKET).delete(key)
    await bus.purge(SEND, f"send.{key}.>")


@pytest.fixture
def draft(project: str, clock: VirtualClock) -> Callable[..., UUID]:
    """Make a draft; content and audience as given, else the starter to everybody."""
    from todoku.campaigns import services

    def make(content: CampaignContent | None = None, audience: Audience | None = None, name: str = "冬の鍋") -> UUID:
        return services.create(
            project,
            name=name,
            content=content or starter_content(),
            audience=audience or Audience(),
            by="marketer@example.com",
            clock=clock,
        )

    return make


@pytest.fixture
def invite(project: str) -> Callable[..., None]:
    """Bring people into the project's guest list."""
    from todoku.guests import services as guests

    def bring(count: int, *, without_consent: int = 0, name: str = "見本 太郎") -> None:
        guests.import_people(project, people(count, without_consent=without_consent, name=name))

    return bring


@pytest.fixture
def scheduled(project: str, draft: Callable[..., UUID], invite: Callable[..., None], clock: VirtualClock) -> Any:
    """Schedule a campaign to three people an hour ahead; returns its run."""
    from todoku.campaigns import services
    from todoku.campaigns.models import Run

    invite(3)

    def make(name: str = "冬の鍋") -> Run:
        campaign_id = draft(name=name)
        due = clock.now_utc() + timedelta(hours=1)
        services.schedule(project, campaign_id, due_at_utc=due, by="marketer@example.com", clock=clock)
        return Run.objects.get(campaign_id=campaign_id)

    return make


@pytest.fixture
def pressed_at_once() -> Callable[[Callable[[], object]], list[str]]:
    """Press four times at the same moment; returns, sorted, who "won" and who was "told"."""
    from django.db import connection

    from todoku.campaigns.errors import WrongState

    def press_all(press: Callable[[], object]) -> list[str]:
        together = threading.Barrier(4)
        results: list[str] = []

        def one() -> None:
            try:
                together.wait()
                press()
                results.append("won")
            except WrongState:
                results.append("told")
            finally:
                connection.close()

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(results)

    return press_all


@pytest.fixture
def make(project: str, draft: Callable[..., UUID], invite: Callable[..., None], clock: VirtualClock) -> Any:
    """Schedule a repeating campaign to two people, daily at 18:00 (the clock begins at 12:00) unless told otherwise."""
    from todoku.campaigns import queries, services
    from todoku.campaigns.types import LatePolicy, Plan, Repeat, RepeatKind

    invite(2)

    def scheduled_by_rule(repeat: Repeat | None = None, late: LatePolicy | None = None, **more: Any) -> UUID:
        campaign_id = draft()
        row = queries.get(project, campaign_id)
        plan = Plan(repeat=repeat or Repeat(RepeatKind.DAILY, 18 * 60), late=late or LatePolicy(), **more)
        services.update(
            project,
            campaign_id,
            name=row.name,
            content=row.content,
            audience=row.audience,
            version=row.version,
            plan=plan,
            by="marketer@example.com",
            clock=clock,
        )
        services.schedule(project, campaign_id, by="marketer@example.com", clock=clock)
        return campaign_id

    return scheduled_by_rule
