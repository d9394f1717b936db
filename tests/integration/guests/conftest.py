"""Two tenants, and visits told in few words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import pytest

from todoku.guests.types import VisitFact
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo, ShopInfo

MINE, OTHER = "guests-mine", "guests-other"
Came = Callable[..., VisitFact]


@pytest.fixture
def tenants(database: None, clock: VirtualClock) -> tuple[str, str]:
    from todoku.projects import services as projects  # models can't be imported before Django is set up

    for project_id in (MINE, OTHER):
        projects.save_project(ProjectInfo(project_id, project_id, "Asia/Tokyo", "", "", "", ""), clock=clock)
        projects.save_shops(project_id, [ShopInfo("ginza", "届屋 銀座本店", ()), ShopInfo("shinjuku", "炉ばた", ())])
    return MINE, OTHER


@pytest.fixture
def came() -> Came:
    def visit(
        phone: str | None = None,
        email: str | None = None,
        *,
        start: datetime | None = None,
        counts: bool = True,
        reservation_id: UUID | None = None,
        **said: str | None,
    ) -> VisitFact:
        key = reservation_id or new_id()
        return VisitFact(
            reservation_id=key,
            site=said.get("site") or "tabelog",
            reference=str(key),
            shop_code=said.get("shop_code"),
            start=start,
            party_size=2,
            counts_as_visit=counts,
            name=said.get("name"),
            kana=said.get("kana"),
            phone=phone,
            email=email,
        )

    return visit
