"""Two projects with a key each, and calls as a program makes them: through every layer, into a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from todoku.content.starters import load_starter
from todoku.guests.types import PersonImport
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo

if TYPE_CHECKING:
    from django.http import HttpResponse


@dataclass
class Caller:
    """A program with a key; `answer` of every call is checked to be what the api promises."""

    project_id: str
    token: str
    told: list[tuple[str, str]] = field(default_factory=list)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> HttpResponse:
        """Make one call; a body is sent as JSON."""
        from django.test import Client

        if self.token:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        return Client(raise_request_exception=False).generic(  # type: ignore[return-value]
            method,
            f"/api/v1{path}",
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers=headers,
        )

    def ok(self, method: str, path: str, body: object = None, status: int = 200, **headers: str) -> Any:
        """Return what a call answered; fails unless it has this status."""
        answer = self.call(method, path, body, **headers)
        assert answer.status_code == status, (answer.status_code, answer.content.decode())
        assert answer["Content-Type"].startswith("application/json")
        return json.loads(answer.content)

    def problem(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """Return the problem document that a call answered."""
        answer = self.call(method, path, body, **headers)
        assert answer["Content-Type"] == "application/problem+json", answer.content.decode()
        document: dict[str, Any] = json.loads(answer.content)
        assert document["status"] == answer.status_code
        assert {"type", "title", "status", "code"} <= set(document)
        return document


@pytest.fixture(autouse=True)
def known_host() -> Iterator[None]:
    from django.test import override_settings

    with override_settings(ALLOWED_HOSTS=["testserver"]):
        yield


@pytest.fixture
def told(database: None, clock: VirtualClock) -> list[tuple[str, str]]:
    """Connect the api; returns what pages were told."""
    from todoku.api import ports

    heard: list[tuple[str, str]] = []
    ports.connect(ports.Ports(clock=clock, notify=lambda project_id, kind, _words: heard.append((project_id, kind))))
    return heard


@pytest.fixture
def make_caller(told: list[tuple[str, str]], clock: VirtualClock) -> Callable[..., Caller]:
    """Make a project with one guest who agreed, and a key that may do everything unless said otherwise."""

    def make(*scopes: str) -> Caller:
        from todoku.api import services
        from todoku.api.types import Scope
        from todoku.guests import services as guests
        from todoku.projects import services as projects

        project_id = f"api-{new_id().hex[-12:]}"
        projects.save_project(
            ProjectInfo(project_id, "届屋", "Asia/Tokyo", "届屋", "news@shop.example", "東京都架空区1", "03-0000-0001"),
            clock=clock,
        )
        person = PersonImport(
            name="山﨑 紬",
            email="tsumugi@example.com",
            consent_source="shop",
            consent_wording="ok",
            consent_given_at_utc=clock.now_utc(),
        )
        guests.import_people(project_id, [person])
        made = services.create_key(
            project_id, name="tills", scopes=[Scope(one) for one in scopes or ("read", "write")], by="me", clock=clock
        )
        return Caller(project_id, made.token, told)

    return make


@pytest.fixture
def caller(make_caller: Callable[..., Caller]) -> Caller:
    return make_caller()


@pytest.fixture
def words() -> dict[str, Any]:
    """Return a campaign that can be sent."""
    starter = load_starter("ja")
    return {"name": "冬の鍋", "subject": starter.subject, "html": starter.html, "text": starter.text}
