"""A second person's approval, test messages, and words that are refused before anybody is mailed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from todoku.api import services as keys
from todoku.api.types import Scope
from todoku.campaigns import occurrence_desk, policies, queries, services
from todoku.campaigns.errors import NotSchedulable, SecondPersonNeeded, WrongState
from todoku.campaigns.models import Run
from todoku.campaigns.policies import Verdict
from todoku.campaigns.types import CampaignContent, RunState
from todoku.content.starters import load_starter
from todoku.guests import queries as guest_queries
from todoku.guests.errors import GuestMissing
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.projects import queries as project_queries
from todoku.projects import services as projects
from todoku.projects.signatures import sign

Draft = Callable[..., UUID]
Invite = Callable[..., None]
Scheduled = Callable[..., Run]
Press = Callable[[Callable[[], object]], list[str]]
BY, COLLEAGUE = "marketer@example.com", "owner@example.com"
HOUR = timedelta(hours=1)


@pytest.fixture
def careful(project: str, clock: VirtualClock) -> str:
    """A project that asks for a second person."""
    from dataclasses import replace

    projects.save_project(replace(project_queries.get_project(project), requires_approval=True), clock=clock)
    return project


def test_nothing_leaves_before_a_second_person_says_so(careful: str, scheduled: Scheduled, clock: VirtualClock) -> None:
    run = scheduled()
    row = queries.get(careful, run.campaign_id)
    assert row.approval is not None
    assert (row.approval.asked_by, row.approval.given) == (BY, False)
    assert queries.get_run(careful, run.id).awaits_approval
    for who in (BY, BY.upper(), f" {BY}"):
        with pytest.raises(SecondPersonNeeded):
            services.approve(careful, run.campaign_id, by=who, clock=clock)
    services.approve(careful, run.campaign_id, by=COLLEAGUE, clock=clock)
    row = queries.get(careful, run.campaign_id)
    assert row.approval is not None
    assert (row.approval.given_by, row.approval.given_at_utc) == (COLLEAGUE, clock.now_utc())
    assert not queries.get_run(careful, run.id).awaits_approval
    with pytest.raises(WrongState, match="already"):
        services.approve(careful, run.campaign_id, by="third@example.com", clock=clock)


def test_who_scheduled_by_a_key_of_their_own_is_no_second_person(
    careful: str, draft: Draft, invite: Invite, clock: VirtualClock
) -> None:
    invite(1)
    campaign_id = draft()
    key = keys.create_key(careful, name="till", scopes=[Scope.WRITE], by=COLLEAGUE, clock=clock).info
    services.schedule(careful, campaign_id, due_at_utc=clock.now_utc() + HOUR, by=key.by, clock=clock)
    with pytest.raises(SecondPersonNeeded):
        services.approve(careful, campaign_id, by=sign("佐藤", COLLEAGUE), clock=clock)
    services.approve(careful, campaign_id, by=sign("佐藤", "third@example.com"), clock=clock)


def test_who_wrote_the_words_last_may_not_approve_them_either(
    careful: str, draft: Draft, invite: Invite, clock: VirtualClock
) -> None:
    invite(1)
    campaign_id = draft()
    row = queries.get(careful, campaign_id)
    services.update(
        careful,
        campaign_id,
        name=row.name,
        content=row.content,
        audience=row.audience,
        version=row.version,
        by=COLLEAGUE,
        clock=clock,
    )
    services.schedule(careful, campaign_id, due_at_utc=clock.now_utc() + HOUR, by=BY, clock=clock)
    with pytest.raises(SecondPersonNeeded):
        services.approve(careful, campaign_id, by=COLLEAGUE, clock=clock)
    services.approve(careful, campaign_id, by="third@example.com", clock=clock)


def test_an_edit_and_a_new_time_withdraw_the_approval(careful: str, scheduled: Scheduled, clock: VirtualClock) -> None:
    run = scheduled()
    services.approve(careful, run.campaign_id, by=COLLEAGUE, clock=clock)
    services.reschedule(careful, run.campaign_id, due_at_utc=clock.now_utc() + 5 * HOUR, by=BY, clock=clock)
    row = queries.get(careful, run.campaign_id)
    assert row.run is not None
    assert row.run.awaits_approval
    services.approve(careful, run.campaign_id, by=COLLEAGUE, clock=clock)
    services.back_to_draft(careful, run.campaign_id, by=BY, clock=clock)
    assert queries.get(careful, run.campaign_id).approval is None


def test_a_run_held_for_want_of_approval_goes_on_with_it(
    careful: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = scheduled()
    clock.advance(3601)
    decision = occurrence_desk.decision_for_unbegun(careful, run.id, clock.now_utc())
    assert (decision.verdict, decision.reason) == (Verdict.HOLD, policies.NOT_APPROVED)
    occurrence_desk.apply(careful, run.id, decision, clock.now_utc())
    with pytest.raises(WrongState, match="approval"):
        services.send_run_now(careful, run.id, by=BY, clock=clock)
    assert queries.while_away(careful, clock=clock)[0].remedies == ("skip",)
    clock.advance(600)
    services.approve(careful, run.campaign_id, by=COLLEAGUE, clock=clock)
    row = queries.get_run(careful, run.id)
    assert (row.state, row.reason, row.awaits_approval) == (RunState.PLANNED, "", False)
    assert row.latest_start_at_utc == row.due_at_utc + timedelta(hours=4)
    assert occurrence_desk.decision_for_unbegun(careful, run.id, clock.now_utc()).verdict is Verdict.GO
    assert occurrence_desk.note_cause(careful, run.id, clock.now_utc()).en.startswith("waited for approval until")


def test_of_four_who_approve_one_wins(
    careful: str, scheduled: Scheduled, clock: VirtualClock, pressed_at_once: Press
) -> None:
    run = scheduled()
    press = lambda: services.approve(careful, run.campaign_id, by=COLLEAGUE, clock=clock)  # noqa: E731
    assert pressed_at_once(press) == ["told"] * 3 + ["won"]


def test_where_no_second_person_is_asked_for_none_is_needed(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = scheduled()
    assert queries.get(project, run.campaign_id).approval is None
    with pytest.raises(WrongState, match="nobody asked"):
        services.approve(project, run.campaign_id, by=COLLEAGUE, clock=clock)


def test_a_test_message_is_marked_and_shows_a_guests_values(
    project: str, draft: Draft, invite: Invite, clock: VirtualClock
) -> None:
    invite(1, name="髙橋 一郎")
    campaign_id = draft()
    guest = guest_queries.search(project, clock=clock)[0]
    typed = [" a@example.com", "b@example.com", "a@example.com", ""]
    run_id = services.test_send(project, campaign_id, typed, guest.id, by=BY, clock=clock)
    run = Run.objects.get(id=run_id)
    assert run.test_addresses == ["a@example.com", "b@example.com"]
    assert run.test_guest == {"name": "髙橋 一郎", "visits": 0, "last_visit_on": None, "last_shop_name": ""}
    assert run.content is not None
    assert run.content["subject"].startswith("[テスト] ")
    sample = services.test_send(project, campaign_id, ["a@example.com"], by=BY, clock=clock, language="en")
    sampled = Run.objects.get(id=sample)
    assert sampled.content is not None
    assert sampled.content["subject"].startswith("[Test] ")
    assert sampled.test_guest is not None
    assert sampled.test_guest["name"] == "山田 花子"
    with pytest.raises(GuestMissing):
        services.test_send(project, campaign_id, ["a@example.com"], new_id(), by=BY, clock=clock)


@pytest.mark.parametrize(
    ("addresses", "code"),
    [
        ([], "test_addresses"),
        ([f"a{number}@example.com" for number in range(21)], "test_addresses"),
        (["no address"], "test_address"),
        (["a@example.com\r\nBcc: b@example.com"], "test_address"),
    ],
)
def test_a_test_to_bad_addresses_is_refused(
    addresses: list[str], code: str, project: str, draft: Draft, clock: VirtualClock
) -> None:
    with pytest.raises(NotSchedulable) as caught:
        services.test_send(project, draft(), addresses, by=BY, clock=clock)
    assert [one.code for one in caught.value.obstacles] == [code]
    assert Run.objects.count() == 0


def test_a_message_of_thirty_megabytes_is_refused_with_its_size(
    project: str, draft: Draft, invite: Invite, clock: VirtualClock
) -> None:
    invite(1)
    starter = load_starter("ja")
    picture = "<img src='data:image/png;base64," + "A" * 30_000_000 + "'>"
    campaign_id = draft(content=CampaignContent(starter.subject, starter.html + picture, starter.text))
    with pytest.raises(NotSchedulable) as caught:
        services.schedule(project, campaign_id, due_at_utc=clock.now_utc() + HOUR, by=BY, clock=clock)
    (obstacle,) = caught.value.obstacles
    assert obstacle.code == "too_large"
    assert "30.0 MB" in obstacle.message
    assert "30.0 MB" in obstacle.message_ja


def test_a_line_break_in_a_value_of_the_subject_is_refused(
    project: str, draft: Draft, invite: Invite, clock: VirtualClock
) -> None:
    from dataclasses import replace

    invite(1)
    info = project_queries.get_project(project)
    projects.save_project(replace(info, name="とどく\r\nBcc: x@example.com"), clock=clock)
    starter = load_starter("ja")
    campaign_id = draft(content=CampaignContent("{{ project_name }}", starter.html, starter.text))
    with pytest.raises(NotSchedulable, match="line break"):
        services.schedule(project, campaign_id, due_at_utc=clock.now_utc() + HOUR, by=BY, clock=clock)
