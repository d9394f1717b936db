"""Campaigns through the api: planned, changed, sent, and every error answered with what happened and what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from todoku.kernel.clock import VirtualClock

from .conftest import Caller

WEEKLY = {"repeat": {"kind": "weekly", "weekdays": [0, 3], "at": "10:30", "holidays": "before", "count": 6}}


@pytest.fixture
def draft(caller: Caller, words: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = caller.ok("POST", "/campaigns", words, status=201)
    return made


def test_a_draft_is_what_was_said(caller: Caller, words: dict[str, Any]) -> None:
    plan = {**WEEKLY, "quiet": {"begin": "21:00", "end": "8:00"}, "pace_per_second": 50}
    audience = {"min_visits": 2, "last_visit_before": "2026-06-01", "sites": ["tabelog"]}
    made = caller.ok("POST", "/campaigns", {**words, "plan": plan, "audience": audience}, status=201)
    read = caller.ok("GET", f"/campaigns/{made['id']}")
    assert read == made
    assert (read["state"], read["created_by"]) == ("draft", "api: tills")
    assert read["plan"]["repeat"] | {"at": "10:30"} == read["plan"]["repeat"]
    assert read["plan"]["repeat"]["time_zone"] == "Asia/Tokyo"
    assert read["plan"]["quiet"] == {"begin": "21:00", "end": "08:00"}
    assert read["audience"]["min_visits"] == 2
    assert caller.told, "open pages are told"


def test_an_edit_over_somebody_elses_edit_is_refused(caller: Caller, words: dict[str, Any], draft: Any) -> None:
    path = f"/campaigns/{draft['id']}"
    changed = caller.ok("PUT", path, {**words, "name": "春", "version": draft["version"]})
    assert (changed["name"], changed["version"]) == ("春", draft["version"] + 1)
    found = caller.problem("PUT", path, {**words, "name": "夏", "version": draft["version"]})
    assert (found["status"], found["code"]) == (409, "wrong_state")
    assert found["todo"]


def test_once_paused_resumed_stopped(caller: Caller, draft: Any, clock: VirtualClock) -> None:
    path = f"/campaigns/{draft['id']}"
    due = clock.now_utc() + timedelta(hours=3)
    assert caller.ok("GET", f"{path}/obstacles") == []
    scheduled = caller.ok("POST", f"{path}/schedule", {"due_at": due.isoformat()})
    assert (scheduled["state"], scheduled["run"]["state"]) == ("scheduled", "planned")
    later = (due + timedelta(hours=1)).isoformat()
    moved = caller.ok("POST", f"{path}/reschedule", {"due_at": later})
    assert moved["run"]["due_at"] == moved["due_at"] != scheduled["due_at"]
    assert caller.ok("POST", f"{path}/pause", {"reason": "typo"})["state"] == "paused"
    assert caller.ok("POST", f"{path}/resume", {})["state"] == "scheduled"
    assert caller.ok("POST", f"{path}/stop", {"reason": "wrong menu"})["state"] == "stopped"
    found = caller.problem("POST", f"{path}/pause", {})
    assert (found["status"], found["code"]) == (409, "wrong_state")
    assert caller.ok("POST", f"{path}/back-to-draft", {})["state"] == "draft"
    copy = caller.ok("POST", f"{path}/duplicate", {}, status=201)
    assert copy["id"] != draft["id"]
    actions = [one["what"] for one in caller.ok("GET", f"{path}/audit")]
    assert actions[:2] == ["campaign.back_to_draft", "campaign.stopped"]
    assert caller.ok("GET", "/campaigns?state=stopped") == []


def test_repeating_has_its_calendar_and_its_runs(caller: Caller, words: dict[str, Any], clock: VirtualClock) -> None:
    made = caller.ok("POST", "/campaigns", {**words, "plan": WEEKLY}, status=201)
    scheduled = caller.ok("POST", f"/campaigns/{made['id']}/schedule", {})
    assert scheduled["next_due_at"] is not None
    today = clock.now_utc().date()
    entries = caller.ok("GET", f"/calendar?first={today}&last={today + timedelta(days=60)}")
    assert len(entries) == 6
    assert {one["campaign_id"] for one in entries} == {made["id"]}
    assert entries[-1]["state"] == "expected"
    runs = caller.ok("GET", f"/campaigns/{made['id']}/runs")
    run_id = runs[-1]["id"]
    assert caller.ok("GET", f"/runs/{run_id}")["occurrence"] == 1
    assert "run.due" in [one["what"] for one in caller.ok("GET", f"/runs/{run_id}/timeline")]
    assert caller.ok("POST", f"/runs/{run_id}/skip", {})["state"] == "missed"
    assert [one["what"] for one in caller.ok("GET", "/away")] in ([], ["missed"])


def test_a_run_that_nobody_sent_is_found_and_helped(caller: Caller, draft: Any, clock: VirtualClock) -> None:
    due = clock.now_utc() + timedelta(minutes=30)
    caller.ok("POST", f"/campaigns/{draft['id']}/schedule", {"due_at": due.isoformat()})
    clock.advance(3_600)
    [late] = caller.ok("GET", "/away")
    assert (late["what"], late["campaign_name"]) == ("late", draft["name"])
    assert "skip" in late["remedies"]
    body = {"run_ids": [late["run"]["id"]], "action": "skip"}
    assert caller.ok("POST", "/away/remedies", body)["results"] == [
        {"run_id": late["run"]["id"], "new_run_id": None, "problem": ""}
    ]
    again = caller.ok("POST", "/away/remedies", body)["results"]
    assert again[0]["problem"]


def test_a_test_goes_to_typed_addresses(caller: Caller, draft: Any) -> None:
    path = f"/campaigns/{draft['id']}/test-send"
    run = caller.ok("POST", path, {"addresses": ["me@example.com"]}, status=202)
    assert (run["kind"], run["occurrence"]) == ("test", 0)
    for addresses in ([], ["no address"], ["a\r\nBcc: x@example.com"]):
        found = caller.problem("POST", path, {"addresses": addresses})
        assert found["code"] == "not_schedulable"
        assert found["obstacles"]


def test_bad_input_names_the_field(caller: Caller, words: dict[str, Any], draft: Any, clock: VirtualClock) -> None:
    path = f"/campaigns/{draft['id']}"
    nowhere = "2026-12-01T12:00:00"
    for method, where, body, field in (
        ("POST", "/campaigns", {**words, "name": None}, "name"),
        ("POST", "/campaigns", {**words, "plan": {"repeat": {"kind": "hourly"}}}, "plan.repeat.kind"),
        ("POST", "/campaigns", {**words, "plan": {"repeat": {"kind": "daily"}}}, "plan.repeat.at"),
        ("POST", "/campaigns", {**words, "plan": {"quiet": {"begin": "9", "end": "10:00"}}}, "plan.quiet.begin"),
        ("POST", f"{path}/schedule", {"due_at": nowhere}, "due_at"),
        ("POST", f"{path}/schedule", {"due_at": "tomorrow"}, "due_at"),
        ("GET", "/calendar?first=2026-01-01&last=2027-01-01", None, "last"),
        ("GET", "/calendar?first=2026-02-31&last=2026-03-01", None, "first"),
        ("GET", f"/runs/{draft['id']}/recipients?state=everybody", None, "state"),
    ):
        found = caller.problem(method, where, body)
        assert (found["status"], found["code"]) == (422, "request_invalid"), where
        assert field in [one["field"] for one in found["errors"]], found


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"repeat": {"kind": "cron", "cron": "0 10 31 2 *"}}, "cron_never"),
        ({"repeat": {"kind": "cron", "cron": "* * * * *"}}, "cron_too_often"),
        ({"repeat": {"kind": "monthly", "month_day": 32, "at": "10:00"}}, "month_day"),
        ({"repeat": {"kind": "daily", "at": "10:00", "until": "2020-01-01"}}, "ends_before_start"),
        ({"repeat": {"kind": "daily", "at": "10:00", "time_zone": "Mars/Olympus"}}, "time_zone"),
        ({"guard_factor": 0.5}, "guard_factor"),
    ],
)
def test_what_never_leaves_is_said_when_scheduling(
    plan: dict[str, Any], code: str, caller: Caller, words: dict[str, Any], clock: VirtualClock
) -> None:
    made = caller.ok("POST", "/campaigns", {**words, "plan": plan}, status=201)
    due = None if "repeat" in plan else (clock.now_utc() + timedelta(hours=1)).isoformat()
    found = caller.problem("POST", f"/campaigns/{made['id']}/schedule", {"due_at": due})
    assert found["code"] == "not_schedulable"
    assert code in [one["code"] for one in found["obstacles"]]
    assert all(one["message_ja"] for one in found["obstacles"])


def test_a_call_with_a_key_of_its_own_is_done_once(caller: Caller, words: dict[str, Any]) -> None:
    first = caller.ok("POST", "/campaigns", words, status=201, **{"Idempotency-Key": "a"})
    again = caller.call("POST", "/campaigns", words, **{"Idempotency-Key": "a"})
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert json.loads(again.content) == first
    assert len(caller.ok("GET", "/campaigns")) == 1
    other = caller.problem("POST", "/campaigns", {**words, "name": "other"}, **{"Idempotency-Key": "a"})
    assert other["code"] == "idempotency_key_reused"
    caller.ok("POST", "/campaigns", words, status=201, **{"Idempotency-Key": "b"})
    assert len(caller.ok("GET", "/campaigns")) == 2


def test_an_error_may_be_tried_again_with_the_same_key(caller: Caller, draft: Any, clock: VirtualClock) -> None:
    path = f"/campaigns/{draft['id']}/schedule"
    body = {"due_at": (clock.now_utc() + timedelta(hours=1)).isoformat()}
    caller.ok("POST", path, body, status=200, **{"Idempotency-Key": "x"})
    caller.ok("POST", f"/campaigns/{draft['id']}/back-to-draft", {})
    assert caller.call("POST", path, body, **{"Idempotency-Key": "x"})["Idempotency-Replayed"] == "true"
    past = {"due_at": (clock.now_utc() - timedelta(hours=1)).isoformat()}
    caller.problem("POST", path, past, **{"Idempotency-Key": "y"})
    assert caller.problem("POST", path, past, **{"Idempotency-Key": "y"})["code"] == "not_schedulable"


def test_of_two_calls_at_once_with_one_key_one_acts(caller: Caller, words: dict[str, Any]) -> None:
    from django.db import connection

    together = threading.Barrier(4)
    answers: list[tuple[int, str]] = []

    def press() -> None:
        try:
            together.wait()
            answer = caller.call("POST", "/campaigns", words, **{"Idempotency-Key": "same"})
            answers.append((answer.status_code, json.loads(answer.content)["id"]))
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert len(caller.ok("GET", "/campaigns")) == 1


def test_an_old_key_may_be_used_again_the_next_day(caller: Caller, words: dict[str, Any], clock: VirtualClock) -> None:
    caller.ok("POST", "/campaigns", words, status=201, **{"Idempotency-Key": "a"})
    clock.advance(24 * 3_600 + 1)
    caller.ok("POST", "/campaigns", words, status=201, **{"Idempotency-Key": "a"})
    assert len(caller.ok("GET", "/campaigns")) == 2


def test_what_is_no_address_of_the_api_is_a_problem_too(caller: Caller) -> None:
    for path in ("/nowhere", "/../v2/campaigns", "/campaigns/not-an-id"):
        assert caller.problem("GET", path)["status"] in {404, 422}


def test_the_api_describes_itself(caller: Caller, make_caller: Callable[..., Caller]) -> None:
    described = Caller("", "").ok("GET", "/openapi.json")
    paths = set(described["paths"])
    assert {"/api/v1/campaigns", "/api/v1/campaigns/{campaign_id}/schedule", "/api/v1/runs/{run_id}/resend"} <= paths
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["security"], (method, path)
