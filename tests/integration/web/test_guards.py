"""Every route is guarded, every role sees what its rights say, and no tenant sees another."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import URLPattern

from todoku.projects.types import RIGHTS, Right, Role
from todoku.web.guards import PUBLIC
from todoku.web.urls import urlpatterns

from .conftest import House

PUBLIC_ROUTES = {
    "healthz", "favicon", "sign_in", "sign_out", "set_language", "set_theme", "set_project", "unsubscribe",
}  # fmt: skip
POST_ONLY = {
    "handle", "guest_mailing", "campaign_check", "campaign_act", "campaign_starts", "campaign_approve",
    "campaign_test", "away_remedy", "run_resend", "run_act", "source_test", "source_act", "source_upload",
    "credential_ask_dns", "replay_act",
}  # fmt: skip
RUN_ROUTES = {"run", "run_names", "run_csv", "run_names_csv", "run_resend", "run_act"}
ACTIONS = {"source_act": "pause", "replay_act": "stop"}
STREAM = "stream"  # never ends: tried in test_live


def _guard(route: URLPattern) -> Right | str | None:
    return getattr(route.callback, "guard", None)


def _url(route: URLPattern, house: House) -> str:
    values = {
        "reservation_id": house.reservation_id,
        "arrival_id": house.arrival_id,
        "guest_id": house.guest_id,
        "campaign_id": house.campaign_id,
        "run_id": uuid4(),
        "source": house.source,
        "credential": house.credential,
        "action": ACTIONS.get(route.name or "", "duplicate"),
        "replay_id": house.replay_id,
        "state": "sent",
        "token": "x",
        "number": 0,
    }
    from django.urls import reverse

    assert route.name is not None
    url = reverse(route.name, kwargs={name: values[name] for name in route.pattern.converters})
    return f"{url}?campaign={house.campaign_id}" if route.name == "campaign_preview" else url


def test_every_route_names_its_guard() -> None:
    assert len(urlpatterns) > 30
    for route in urlpatterns:
        guard = _guard(route)
        assert guard is not None, f"{route.name} has no guard"
        assert (guard == PUBLIC) == (route.name in PUBLIC_ROUTES), route.name


def test_nobody_gets_in_without_signing_in(house: House) -> None:
    client = Client()
    for route in urlpatterns:
        if _guard(route) == PUBLIC or route.name == STREAM:
            continue
        url = _url(route, house)
        for answer in (client.get(url), client.post(url)):
            assert answer.status_code == 302, url
            assert answer["Location"].startswith("/sign-in?next="), url
        assert client.get(url, headers={"HX-Request": "true"}).status_code == 401, url


@pytest.mark.parametrize("role", list(Role))
def test_a_role_opens_exactly_what_its_rights_say(role: Role, house: House, sign_in: Callable[[str], Client]) -> None:
    client = sign_in(house.email(role))
    for route in urlpatterns:
        right = _guard(route)
        if not isinstance(right, Right) or route.name == STREAM:
            continue
        url = _url(route, house)
        answer = client.post(url) if route.name in POST_ONLY else client.get(url)
        if right not in RIGHTS[role]:
            assert answer.status_code == 403, (role, url)
        elif route.name in RUN_ROUTES:
            assert answer.status_code == 404, (role, url)
        elif route.name == "campaign_act" and Right.EDIT_CAMPAIGNS not in RIGHTS[role]:
            assert answer.status_code == 403, (role, url)
        else:
            assert answer.status_code in {200, 302, 422}, (role, url, answer.status_code)


def test_what_belongs_to_another_project_does_not_exist(
    houses: tuple[House, House], sign_in: Callable[[str], Client]
) -> None:
    mine, theirs = houses
    client = sign_in(mine.email(Role.OWNER))
    tried = 0
    for route in urlpatterns:
        if not isinstance(_guard(route), Right) or not set(route.pattern.converters) & {
            "reservation_id", "arrival_id", "guest_id", "campaign_id", "source", "credential",
            "replay_id",
        }:  # fmt: skip
            continue
        url = _url(route, theirs)
        answer = client.post(url, {"action": "stop", "version": "1"})
        if answer.status_code == 405:
            answer = client.get(url)
        assert answer.status_code == 404, url
        assert client.get(url).status_code in {404, 405}, url
        tried += 1
    assert tried >= 9


def test_lists_hold_only_what_is_mine(houses: tuple[House, House], sign_in: Callable[[str], Client]) -> None:
    mine, theirs = houses
    client = sign_in(mine.email(Role.OWNER))
    ids: dict[str, tuple[UUID, UUID]] = {
        "/online": (mine.reservation_id, theirs.reservation_id),
        "/mails": (mine.arrival_id, theirs.arrival_id),
        "/guests": (mine.guest_id, theirs.guest_id),
        "/campaigns": (mine.campaign_id, theirs.campaign_id),
    }
    for url, (own, foreign) in ids.items():
        page = client.get(url).content.decode()
        assert str(own) in page, url
        assert str(foreign) not in page, url


def test_another_project_can_not_be_switched_to(houses: tuple[House, House], sign_in: Callable[[str], Client]) -> None:
    mine, theirs = houses
    client = sign_in(mine.email(Role.OWNER))
    client.post("/project", {"project": theirs.project_id})
    assert str(theirs.reservation_id) not in client.get("/online").content.decode()
