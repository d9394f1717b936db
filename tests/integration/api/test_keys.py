"""A key opens one project, as far as its scopes say, until it is revoked; its secret is kept nowhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from todoku.api.errors import KeyInvalid, KeyMissing, RequestInvalid
from todoku.api.types import Scope
from todoku.kernel.clock import VirtualClock
from todoku.projects.errors import ProjectMissing

from .conftest import Caller


def test_without_a_key_nothing_opens(caller: Caller) -> None:
    for token in ("", "nonsense", f"tdk_{uuid4().hex}_{'A' * 43}", caller.token[:-1] + "_", caller.token + "x"):
        answer = Caller(caller.project_id, token).call("GET", "/campaigns")
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert Caller(caller.project_id, token).problem("GET", "/campaigns")["code"] == "key_invalid"


def test_a_session_means_nothing_here(caller: Caller) -> None:
    caller.token = ""
    assert caller.call("GET", "/campaigns", Cookie="sessionid=whatever").status_code == 401


def test_a_key_that_may_look_may_not_act(make_caller: Callable[..., Caller], words: dict[str, object]) -> None:
    reader = make_caller("read")
    assert reader.ok("GET", "/campaigns") == []
    assert reader.problem("POST", "/campaigns", words)["code"] == "scope_missing"


def test_what_belongs_to_another_project_does_not_exist(
    make_caller: Callable[..., Caller], words: dict[str, object]
) -> None:
    mine, theirs = make_caller(), make_caller()
    campaign = mine.ok("POST", "/campaigns", words, status=201)
    assert [one["id"] for one in mine.ok("GET", "/campaigns")] == [campaign["id"]]
    assert theirs.ok("GET", "/campaigns") == []
    for method, path in (
        ("GET", f"/campaigns/{campaign['id']}"),
        ("GET", f"/campaigns/{campaign['id']}/runs"),
        ("GET", f"/campaigns/{campaign['id']}/audit"),
        ("POST", f"/campaigns/{campaign['id']}/send-now"),
        ("POST", f"/campaigns/{campaign['id']}/duplicate"),
        ("GET", f"/runs/{uuid4()}"),
        ("GET", f"/runs/{uuid4()}/recipients?state=sent"),
        ("GET", f"/runs/{uuid4()}/recipients.csv"),
    ):
        assert theirs.problem(method, path)["status"] == 404, path


def test_a_revoked_key_opens_nothing(caller: Caller, clock: VirtualClock) -> None:
    from todoku.api import queries, services

    key = queries.list_keys(caller.project_id)[0]
    for _ in range(2):
        services.revoke_key(caller.project_id, key.id, by="me", clock=clock)
    assert caller.problem("GET", "/campaigns")["code"] == "key_invalid"
    assert queries.list_keys(caller.project_id)[0].revoked_at_utc == clock.now_utc()
    with pytest.raises(KeyMissing):
        services.revoke_key("another", key.id, by="me", clock=clock)


def test_the_secret_is_kept_nowhere(caller: Caller) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(api_apikey)::text FROM api_apikey")
        kept = str(cursor.fetchall())
    assert caller.token.rpartition("_")[2] not in kept
    assert caller.token.split("_", 2)[2] not in kept


def test_a_busy_key_is_noted_once_a_minute(caller: Caller, clock: VirtualClock) -> None:
    from todoku.api import queries

    first = clock.now_utc()
    caller.ok("GET", "/campaigns")
    clock.advance(30)
    caller.ok("GET", "/campaigns")
    assert queries.list_keys(caller.project_id)[0].last_used_at_utc == first
    clock.advance(31)
    caller.ok("GET", "/campaigns")
    assert queries.list_keys(caller.project_id)[0].last_used_at_utc == first + timedelta(seconds=61)


def test_a_key_needs_a_name_a_scope_and_a_project(caller: Caller, clock: VirtualClock) -> None:
    from todoku.api import services

    for name, scopes in (("", [Scope.READ]), ("x" * 101, [Scope.READ]), ("x", [])):
        with pytest.raises(RequestInvalid):
            services.create_key(caller.project_id, name=name, scopes=scopes, by="me", clock=clock)
    with pytest.raises(ProjectMissing):
        services.create_key("nowhere", name="x", scopes=[Scope.READ], by="me", clock=clock)
    with pytest.raises(KeyInvalid):
        services.open_with("", clock=clock)
