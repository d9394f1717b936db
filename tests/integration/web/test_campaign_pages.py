"""Campaign pages over a real database: groups, the scheduling form, approval, remedies, the calendar, names as CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from tests.integration.api.books import book, finish, outcome, set_run

from todoku.campaigns import queries, services
from todoku.campaigns.types import Plan, RunState
from todoku.delivery.types import RecipientState
from todoku.kernel.clock import SystemClock
from todoku.projects.types import Role

from .conftest import House

CLOCK = SystemClock()
TOKYO = ZoneInfo("Asia/Tokyo")
ONCE = {
    "how": "later",
    "when": "once",
    "time_zone": "Asia/Tokyo",
    "start_within": "14400.0",
    "then": "ask",
    "guard": "2.0",
}
WEEKLY = {
    **ONCE, "when": "repeat", "kind": "weekly", "weekdays": ["0", "3"], "at": "10:30", "every": "1", "end": "count",
    "count": "4", "holidays": "before", "pile_up": "all", "older_seal": "on",
}  # fmt: skip


@pytest.fixture
def owner(house: House, sign_in: Callable[[str], Client]) -> Client:
    client = sign_in(house.email(Role.OWNER))
    client.post("/language", {"language": "en"})
    return client


def _due(hours: float) -> str:
    return f"{datetime.now(TOKYO) + timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def _send(client: Client, house: House, form: dict[str, Any]) -> Any:
    return client.post(f"/campaigns/{house.campaign_id}/send", form)


def _run_id(house: House) -> UUID:
    run = queries.get(house.project_id, house.campaign_id).run
    assert run is not None
    return run.id


@pytest.fixture
def run_id(house: House) -> UUID:
    """Return the run of a campaign that leaves tomorrow."""
    due = CLOCK.now_utc() + timedelta(days=1)
    services.schedule(house.project_id, house.campaign_id, due_at_utc=due, by="test", clock=CLOCK)
    return _run_id(house)


def _wrong(page: str) -> dict[str, str]:
    """Return what stands beside each field."""
    found = re.findall(r'<p class="wrong" id="e-(\w+)"[^>]*>([^<]+)</p>', page)
    return dict(found)


def test_once_leaves_at_the_minute_of_the_chosen_zone(house: House, owner: Client) -> None:
    form = {**ONCE, "due": "2099-07-01T12:00", "time_zone": "Europe/Berlin", "pace": "50", "quiet": "on"}
    form |= {"quiet_begin": "22:00", "quiet_end": "07:30", "recipient_zone": "on"}
    assert _send(owner, house, form).status_code == 302
    row = queries.get(house.project_id, house.campaign_id)
    assert row.due_at_utc == datetime(2099, 7, 1, 10, 0, tzinfo=UTC)
    assert (row.plan.pace_per_second, row.plan.recipient_zone, row.plan.late.older_seal) == (50.0, True, False)
    assert row.plan.quiet is not None
    assert (row.plan.quiet.begin_minute, row.plan.quiet.end_minute) == (1320, 450)


def test_repeating_is_kept_and_shown_again_for_rescheduling(house: House, owner: Client) -> None:
    assert _send(owner, house, WEEKLY).status_code == 302
    row = queries.get(house.project_id, house.campaign_id)
    assert row.plan.repeat is not None
    assert (row.plan.repeat.weekdays, row.plan.repeat.count, row.plan.repeat.at_minute) == ((0, 3), 4, 630)
    page = owner.get(f"/campaigns/{house.campaign_id}/reschedule").content.decode()
    assert 'value="repeat"' in page
    assert len(re.findall(r"<li><b>", page)) == 4, "four starts are shown"
    answer = owner.post(f"/campaigns/{house.campaign_id}/reschedule", {**WEEKLY, "at": "11:45"})
    assert answer.status_code == 302
    changed = queries.get(house.project_id, house.campaign_id).plan.repeat
    assert changed is not None
    assert changed.at_minute == 705


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"when": "once", "due": ""}, "due"),
        ({"when": "once", "due": "2026-02-31T10:00"}, "due"),
        ({"when": "once", "due": "2020-01-01T10:00"}, "due"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"weekdays": []}, "weekdays"),
        ({"at": ""}, "at"),
        ({"every": "0"}, "every"),
        ({"count": ""}, "count"),
        ({"end": "until", "until": "2020-01-01"}, "until"),
        ({"kind": "cron", "cron": "0 10 31 2 *"}, "cron"),
        ({"kind": "cron", "cron": "* * * * *"}, "cron"),
        ({"kind": "cron", "cron": "whenever"}, "cron"),
        ({"quiet": "on", "quiet_begin": "", "quiet_end": "08:00"}, "quiet_begin"),
        ({"pace": "-1"}, "pace"),
        ({"start_within": "99999999"}, "start_within"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    changes: dict[str, Any], field: str, house: House, owner: Client
) -> None:
    answer = _send(owner, house, {**WEEKLY, **changes})
    assert answer.status_code == 422
    assert field in _wrong(answer.content.decode())
    assert queries.get(house.project_id, house.campaign_id).state == "draft"


def test_the_next_starts_are_shown_before_anything_is_saved(house: House, owner: Client) -> None:
    page = owner.post("/campaigns/starts", {**WEEKLY, "end": "never"}).content.decode()
    assert len(re.findall(r"<li><b>", page)) == 5
    assert "Monday and Thursday at 10:30" in page
    half = owner.post("/campaigns/starts", {**WEEKLY, "at": "", "weekdays": []}).content.decode()
    assert _wrong(half) == {}, "what is still empty is no error yet"
    wrong = owner.post("/campaigns/starts", {**WEEKLY, "kind": "cron", "cron": "0 10 31 2 *"}).content.decode()
    assert "cron" in _wrong(wrong)
    asleep = {**ONCE, "due": _due(24)[:11] + "23:00", "quiet": "on", "quiet_begin": "22:00", "quiet_end": "08:00"}
    assert "quiet hours" in owner.post("/campaigns/starts", asleep).content.decode()


def test_groups_put_first_what_needs_a_person(house: House, owner: Client, run_id: UUID) -> None:
    page = owner.get("/campaigns").content.decode()
    assert 'id="g-scheduled"' in page
    set_run(run_id, state="held", resume_to="planned", reason="three times as many", reason_ja="3倍です")
    page = owner.get("/campaigns").content.decode()
    assert 'id="g-needs"' in page
    assert "three times as many" in page
    owner.post("/language", {"language": "ja"})
    assert "3倍です" in owner.get("/campaigns").content.decode()
    assert "g-needs" not in owner.get("/campaigns?group=draft").content.decode()


def test_readiness_is_said_in_words(house: House, owner: Client, run_id: UUID) -> None:
    due = CLOCK.now_utc() + timedelta(minutes=20)
    set_run(run_id, state="sealed", planned=12_345, due_at=due, sealed_at=CLOCK.now_utc(), order={"to_send": 12_340})
    page = owner.get("/campaigns").content.decode()
    assert "12,340 recipients" in page or "12,345 recipients" in page
    assert f"{due.astimezone(TOKYO):%H:%M}" in page
    assert 'id="g-soon"' in page


def test_a_second_person_approves_and_nobody_their_own(
    house: House, owner: Client, sign_in: Callable[[str], Client]
) -> None:
    from todoku.projects.models import Project, User

    Project.objects.filter(id=house.project_id).update(requires_approval=True)
    User.objects.all().update(display_name="佐藤")  # a name is no identity
    assert _send(owner, house, {**ONCE, "due": _due(3)}).status_code == 302
    url = f"/campaigns/{house.campaign_id}/approve"
    own = owner.get(f"/runs/{_run_id(house)}").content.decode()
    assert 'id="approval"' in own
    assert url not in own
    owner.post(url)
    assert queries.get(house.project_id, house.campaign_id).approval is not None
    kept = queries.get(house.project_id, house.campaign_id).approval
    assert kept is not None
    assert not kept.given
    colleague = sign_in(house.email(Role.MANAGER))
    assert url in colleague.get(f"/runs/{_run_id(house)}").content.decode()
    assert colleague.post(url).status_code == 302
    given = queries.get(house.project_id, house.campaign_id).approval
    assert given is not None
    assert given.given_by == f"佐藤 <{house.email(Role.MANAGER)}>"
    history = colleague.get(f"/runs/{_run_id(house)}").content.decode()
    assert "佐藤" in history
    assert house.email(Role.OWNER) not in history, "pages show names"
    assert sign_in(house.email(Role.VIEWER)).post(url).status_code == 403


def test_what_happened_while_away_is_put_right(house: House, owner: Client, run_id: UUID) -> None:
    set_run(run_id, state="held", resume_to="planned", reason="why", due_at=CLOCK.now_utc() - timedelta(hours=1))
    assert "/campaigns/away" in owner.get("/").content.decode()
    page = owner.get("/campaigns/away").content.decode()
    assert str(run_id) in page
    owner.post("/campaigns/away/remedy", {"action": "explode", "run": str(run_id)})
    assert queries.get_run(house.project_id, run_id).state is RunState.HELD
    owner.post("/campaigns/away/remedy", {"action": "skip", "run": str(run_id)})
    assert queries.get_run(house.project_id, run_id).state is RunState.MISSED


def test_a_remedy_reaches_no_run_of_another_project(
    houses: tuple[House, House], sign_in: Callable[[str], Client]
) -> None:
    mine, theirs = houses
    due = CLOCK.now_utc() + timedelta(days=1)
    services.schedule(theirs.project_id, theirs.campaign_id, due_at_utc=due, by="test", clock=CLOCK)
    run_id = _run_id(theirs)
    set_run(run_id, state="held", resume_to="planned", due_at=CLOCK.now_utc() - timedelta(hours=1))
    client = sign_in(mine.email(Role.OWNER))
    client.post("/campaigns/away/remedy", {"action": "skip", "run": str(run_id)})
    for path in ("", "/send-now", "/skip", "/resend"):
        answer = client.post(f"/runs/{run_id}{path}") if path else client.get(f"/runs/{run_id}")
        assert answer.status_code == 404, path
    for path in ("/names.csv", "/names/sent.csv", "/names/sent"):
        assert client.get(f"/runs/{run_id}{path}").status_code == 404, path
    assert queries.get_run(theirs.project_id, run_id).state is RunState.HELD


def test_the_calendar_holds_runs_and_what_is_planned_ahead(house: House, owner: Client) -> None:
    assert _send(owner, house, {**WEEKLY, "count": "40"}).status_code == 302
    entries = 0
    for months in range(2):
        day = (datetime.now(TOKYO).replace(day=1) + timedelta(days=32 * months)).date()
        page = owner.get(f"/campaigns/calendar?day={day}").content.decode()
        assert page.count('aria-current="date"') == (months == 0)
        entries += page.count('class="entry')
    assert entries >= 8
    for odd in ("day=2026-02-31", "day=x&view=week", "day=9999-12-31", "view=year"):
        assert owner.get(f"/campaigns/calendar?{odd}").status_code == 200
    assert (
        owner.get("/campaigns/calendar", headers={"HX-Request": "true", "HX-Target": "calendar"}).content[:5]
        == b"<div "
    )


def test_the_names_behind_a_number_as_a_csv(house: House, owner: Client, run_id: UUID) -> None:
    told = [outcome(number, RecipientState.SENT) for number in range(1_200)]
    told.append(outcome(1_200, RecipientState.REFUSED, "+cmd@example.com", "=1+1"))
    finish(house.project_id, run_id, told)
    answer = owner.get(f"/runs/{run_id}/names.csv")
    assert answer["Content-Disposition"].startswith("attachment; filename")
    assert answer["Cache-Control"] == "no-store"
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    rows = list(csv.reader(StringIO(content.decode("utf-8-sig"), newline="")))
    assert len(rows) == 1_202
    refused = owner.get(f"/runs/{run_id}/names/refused.csv")
    lines = b"".join(refused.streaming_content).decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]
    assert lines[1].startswith("'+cmd@example.com,Refused,refused,'=1+1,")
    owner.post("/language", {"language": "ja"})
    japanese = owner.get(f"/runs/{run_id}/names/refused.csv")
    assert "メールアドレス" in b"".join(japanese.streaming_content).decode()  # type: ignore[attr-defined]
    assert owner.get(f"/runs/{run_id}/names/everybody.csv").status_code == 404


def test_those_not_reached_are_sent_to_and_the_uncertain_only_on_purpose(
    house: House, owner: Client, run_id: UUID
) -> None:
    told = [outcome(0, RecipientState.EXPIRED, "tsumugi@example.com", guest_id=str(house.guest_id))]
    told.append(outcome(1, RecipientState.UNKNOWN, "maybe@example.com"))
    finish(house.project_id, run_id, told)
    page = owner.get(f"/runs/{run_id}").content.decode()
    assert 'name="sure"' in page
    url = f"/runs/{run_id}/resend"
    assert owner.post(url, {"states": ["unknown"]})["Location"].endswith(str(run_id)), (
        "without the tick nothing is made"
    )
    assert len(queries.runs(house.project_id, house.campaign_id)) == 1
    made = owner.post(url, {"states": ["expired"]})["Location"]
    assert not made.endswith(str(run_id))
    assert len(queries.runs(house.project_id, house.campaign_id)) == 2
    assert owner.post(url, {"states": ["unknown"], "sure": "on"})["Location"] not in {made, f"/runs/{run_id}"}


def test_a_run_under_way_says_when_its_last_mail_leaves(house: House, owner: Client, run_id: UUID) -> None:
    now = CLOCK.now_utc()
    set_run(run_id, state="sending", planned=1_000, sealed_at=now, started_at=now - timedelta(seconds=40), due_at=now)
    told = [outcome(n, RecipientState.SENT, at=now - timedelta(seconds=40 - n / 10)) for n in range(400)]
    book(house.project_id, run_id, told)
    page = owner.get(f"/runs/{run_id}", headers={"HX-Request": "true", "HX-Target": "progress"}).content.decode()
    assert "The last mail leaves at about" in page
    assert "messages a second" in page
    assert 'hx-trigger="every 3s"' in page


def test_a_person_is_found_in_a_run(house: House, owner: Client, run_id: UUID) -> None:
    told = [outcome(0, RecipientState.SENT, "tsumugi@example.com", guest_id=str(house.guest_id))]
    told += [outcome(n, RecipientState.SENT) for n in range(1, 50)]
    finish(house.project_id, run_id, told)
    for text in ("tsumugi@", "山﨑"):
        page = owner.get(f"/runs/{run_id}?q={text}").content.decode()
        assert page.count("tsumugi@example.com") == 1, text
    assert "Nobody in this run" in owner.get(f"/runs/{run_id}?q=nobody").content.decode()


def test_a_stop_needs_its_reason_and_keeps_it(house: House, owner: Client, run_id: UUID) -> None:
    owner.post(f"/campaigns/{house.campaign_id}/stop", {"reason": "wrong menu"})
    row = queries.get(house.project_id, house.campaign_id)
    assert row.state == "stopped"
    assert "wrong menu" in owner.get(f"/campaigns/{house.campaign_id}?show=campaign").content.decode()


def test_the_plan_of_a_program_survives_the_form(house: House, owner: Client) -> None:
    from dataclasses import replace

    row = queries.get(house.project_id, house.campaign_id)
    own = replace(Plan(), guard_factor=1.7, late=replace(Plan().late, start_within_seconds=5_000.0))
    services.update(
        house.project_id,
        row.id,
        name=row.name,
        content=row.content,
        audience=row.audience,
        version=row.version,
        by="api",
        plan=own,
    )
    page = owner.get(f"/campaigns/{row.id}/send").content.decode()
    assert 'value="5000.0" selected' in page
    assert 'value="1.7" selected' in page
