"""Two tenants, and notifications told in few words."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from todoku.extraction.types import Event, Facts, GuestFacts
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo, ShopInfo
from todoku.reservations.types import Notification

MINE, OTHER = "book-mine", "book-other"
Said = Callable[..., Notification]


@pytest.fixture
def tenants(database: None, clock: VirtualClock) -> tuple[str, str]:
    from todoku.projects import services as projects  # models can't be imported before Django is set up

    for project_id in (MINE, OTHER):
        projects.save_project(ProjectInfo(project_id, project_id, "Asia/Tokyo", "", "", "", ""), clock=clock)
        projects.save_shops(project_id, [ShopInfo("ginza", "届屋 銀座本店", ("届屋銀座本店", "abcd001"))])
    return MINE, OTHER


@pytest.fixture
def said(clock: VirtualClock) -> Said:
    numbers = itertools.count()

    def say(event: Event, reference: str = "R1", minute: int = 0, **facts: object) -> Notification:
        guest = GuestFacts(**{name: facts.pop(name, None) for name in ("name", "kana", "phone", "email")})  # type: ignore[arg-type]
        issued = clock.now_utc() + timedelta(minutes=minute)
        return Notification(
            arrival_id=new_id(),
            site=str(facts.pop("site", "tabelog")),
            shop_code=facts.pop("address_shop", None),  # type: ignore[arg-type]
            facts=Facts(event=event, reference=reference, guest=guest, **facts),  # type: ignore[arg-type]
            issued_at_utc=issued,
            received_at_utc=issued + timedelta(seconds=30),
            content_sha256=hashlib.sha256(str(next(numbers)).encode()).hexdigest(),
        )

    return say
