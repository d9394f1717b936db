"""Every service in every state: what is allowed changes exactly that, what is not leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from todoku.campaigns import occurrence_desk, queries, services
from todoku.campaigns.errors import NotSchedulable, ReasonMissing, WrongState
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.policies import LateDecision, Verdict
from todoku.campaigns.types import CampaignContent, CampaignState, Reason, RunKind, RunState
from todoku.content.starters import load_starter
from todoku.guests.types import Audience
from todoku.kernel.clock import VirtualClock
from todoku.kernel.errors import TodokuError

Draft = Callable[..., UUID]
Invite = Callable[..., None]
BY = "marketer@example.com"
WHY = Reason("so", "そう")


@dataclass
class Table:
    """One campaign with one run, brought into any state by services, desk and, for what only planners do, rows."""

    project: str
    campaign_id: UUID
    clock: VirtualClock

    @property
    def due(self) -> datetime:
        return self.clock.now_utc() + timedelta(hours=1)

    def run(self) -> Run:
        return Run.objects.get(project_id=self.project, campaign_id=self.campaign_id)

    def become(self, state: str) -> None:
        services.schedule(self.project, self.campaign_id, due_at_utc=self.due, by=BY, clock=self.clock)
        run = self.run()
        getattr(self, f"_{state}")(run)

    def _planned(self, run: Run) -> None:
        pass

    def _sealing(self, run: Run) -> None:
        Run.objects.filter(id=run.id).update(state="sealing", seal=1, sealer="x")

    def _sealed(self, run: Run) -> None:
        now, content = self.clock.now_utc(), _content()
        words = {f"{part}_template": getattr(content, part) for part in ("subject", "html", "text")}
        order = {"to_send": 1, **words}
        Run.objects.filter(id=run.id).update(state="sealed", seal=1, sealed_at=now, order=order, planned=1)

    def _sending(self, run: Run) -> None:
        self._sealed(run)
        self.clock.advance(3700)
        Run.objects.filter(id=run.id).update(state="sending", started_at=self.clock.now_utc())
        Campaign.objects.filter(id=self.campaign_id).update(state="active")

    def _paused(self, run: Run) -> None:
        services.pause(self.project, self.campaign_id, by=BY, clock=self.clock)

    def _held(self, run: Run) -> None:
        assert occurrence_desk.apply(self.project, run.id, LateDecision(Verdict.HOLD, WHY), self.clock.now_utc())

    def _missed(self, run: Run) -> None:
        assert occurrence_desk.apply(self.project, run.id, LateDecision(Verdict.MISS, WHY), self.clock.now_utc())

    def _stopped(self, run: Run) -> None:
        services.stop(self.project, self.campaign_id, by=BY, reason="why", clock=self.clock)

    def _finished(self, run: Run) -> None:
        self._sending(run)
        now = self.clock.now_utc()
        Run.objects.filter(id=run.id).update(state="finished", finished_at=now, tallies={"expired": 1}, closed_at=now)
        Campaign.objects.filter(id=self.campaign_id).update(state="finished")

    def states(self) -> tuple[str, str]:
        campaign = Campaign.objects.get(id=self.campaign_id)
        newest = Run.objects.filter(campaign_id=self.campaign_id).order_by("-created_at", "-id")[0]
        return campaign.state, newest.state

    def act(self, service: str) -> None:
        who: dict[str, Any] = {"by": BY, "clock": self.clock}
        campaign, run_id = (self.project, self.campaign_id), self.run().id
        acts: dict[str, Callable[[], object]] = {
            "schedule": lambda: services.schedule(*campaign, due_at_utc=self.due, **who),
            "reschedule": lambda: services.reschedule(*campaign, due_at_utc=self.due + timedelta(hours=5), **who),
            "send_now": lambda: services.send_now(*campaign, **who),
            "back_to_draft": lambda: services.back_to_draft(*campaign, **who),
            "pause": lambda: services.pause(*campaign, **who),
            "resume": lambda: services.resume(*campaign, **who),
            "stop": lambda: services.stop(*campaign, reason="why", **who),
            "approve": lambda: services.approve(*campaign, **who),
            "send_run_now": lambda: services.send_run_now(self.project, run_id, **who),
            "skip_run": lambda: services.skip_run(self.project, run_id, **who),
            "resend": lambda: services.send_to_not_reached(self.project, run_id, ["expired"], **who),
            "update": lambda: services.update(
                *campaign,
                name="x",
                content=_content(),
                audience=Audience(),
                version=Campaign.objects.get(id=self.campaign_id).version,
                by=BY,
                clock=self.clock,
            ),
        }
        acts[service]()


def _content() -> CampaignContent:
    starter = load_starter("ja")
    return CampaignContent(starter.subject, starter.html, starter.text)


@pytest.fixture
def table(project: str, draft: Draft, invite: Invite, clock: VirtualClock) -> Table:
    invite(1)
    return Table(project, draft(), clock)


SCHEDULED, PAUSED, ACTIVE = "scheduled", "paused", "active"
STOPPED, FINISHED, DRAFT = "stopped", "finished", "draft"
# service -> state of the run before -> (campaign, newest run) after; what is not listed is refused
ALLOWED: dict[str, dict[str, tuple[str, str]]] = {
    "schedule": {},
    "update": {},
    "approve": {},
    "reschedule": {
        "planned": (SCHEDULED, "planned"),
        "sealing": (SCHEDULED, "planned"),
        "sealed": (SCHEDULED, "planned"),
        "paused": (SCHEDULED, "planned"),
        "held": (SCHEDULED, "planned"),
    },
    "send_now": {
        "planned": (SCHEDULED, "planned"),
        "sealing": (SCHEDULED, "sealing"),
        "sealed": (SCHEDULED, "sealed"),
        "held": (SCHEDULED, "planned"),
    },
    "back_to_draft": {
        "planned": (DRAFT, "stopped"),
        "sealing": (DRAFT, "stopped"),
        "sealed": (DRAFT, "stopped"),
        "paused": (DRAFT, "stopped"),
        "held": (DRAFT, "stopped"),
        "stopped": (DRAFT, "stopped"),
    },
    "pause": dict.fromkeys(("planned", "sealing", "sealed", "sending", "held"), (PAUSED, "paused")),
    "resume": {"paused": (SCHEDULED, "planned"), "held": (SCHEDULED, "planned")},
    "stop": dict.fromkeys(("planned", "sealing", "sealed", "sending", "paused", "held"), (STOPPED, "stopped")),
    "send_run_now": {
        "planned": (SCHEDULED, "planned"),
        "sealing": (SCHEDULED, "sealing"),
        "sealed": (SCHEDULED, "sealed"),
        "held": (SCHEDULED, "planned"),
        "missed": (SCHEDULED, "planned"),
    },
    "skip_run": dict.fromkeys(("planned", "sealing", "sealed", "paused", "held"), (FINISHED, "missed")),
    "resend": {"finished": (ACTIVE, "planned")},
}
RUN_STATES = [state.value for state in RunState]


@pytest.mark.parametrize("state", RUN_STATES)
@pytest.mark.parametrize("service", list(ALLOWED))
def test_every_service_in_every_state(service: str, state: str, table: Table) -> None:
    table.become(state)
    before, lines = table.states(), Audit.objects.filter(project_id=table.project).count()
    runs = list(Run.objects.filter(project_id=table.project).order_by("id").values())
    after = ALLOWED[service].get(state)
    if after is not None:
        table.act(service)
        assert table.states() == after
        assert Audit.objects.filter(project_id=table.project).count() > lines
        assert Run.objects.filter(campaign_id=table.campaign_id, kind="campaign", occurrence=1).count() == 1
        return
    with pytest.raises((WrongState, NotSchedulable)) as caught:
        table.act(service)
    assert isinstance(caught.value, TodokuError)
    assert table.states() == before
    assert Audit.objects.filter(project_id=table.project).count() == lines
    assert list(Run.objects.filter(project_id=table.project).order_by("id").values()) == runs


def test_a_stop_without_a_reason_is_refused(table: Table) -> None:
    table.become("planned")
    with pytest.raises(ReasonMissing):
        services.stop(table.project, table.campaign_id, by=BY, reason="  ", clock=table.clock)
    assert table.states() == (SCHEDULED, "planned")


def test_a_paused_run_comes_back_to_where_it_was(table: Table) -> None:
    table.become("sending")
    services.pause(table.project, table.campaign_id, by=BY, clock=table.clock)
    services.resume(table.project, table.campaign_id, by=BY, clock=table.clock)
    assert table.states() == (ACTIVE, "sending")


def test_what_was_stopped_before_it_was_on_the_bus_needs_no_clearing(table: Table) -> None:
    table.become("planned")
    table.act("stop")
    assert table.run().closed_at == table.clock.now_utc()


def test_what_is_on_the_bus_is_left_for_the_planner_to_clear(table: Table) -> None:
    table.become("sealed")
    table.act("skip_run")
    assert (table.run().state, table.run().closed_at) == ("missed", None)
    with pytest.raises(WrongState, match="cleared"):
        table.act("send_run_now")
    Run.objects.filter(id=table.run().id).update(closed_at=table.clock.now_utc())
    table.act("send_run_now")
    run = table.run()
    assert (run.state, run.order, run.sealed_at, run.closed_at, run.occurrence) == ("planned", None, None, None, 1)


def test_a_run_that_had_begun_before_it_was_let_go_goes_on(table: Table) -> None:
    table.become("sealed")
    table.act("skip_run")
    assert table.states() == (FINISHED, "missed")
    began = table.clock.now_utc()
    assert occurrence_desk.had_begun(table.project, table.run().id, began, began)
    assert table.states() == (ACTIVE, "sending")
    assert table.run().started_at == began
    assert not occurrence_desk.had_begun(table.project, table.run().id, began, began)


def test_a_held_run_that_is_sent_keeps_its_due_time_and_gets_new_limits(table: Table) -> None:
    table.become("held")
    due = table.run().due_at
    table.clock.advance(8 * 3600)
    table.act("send_run_now")
    run = table.run()
    assert (run.due_at, run.reason) == (due, "")
    assert run.latest_start_at == table.clock.now_utc() + timedelta(hours=4)
    assert run.latest_finish_at == table.clock.now_utc() + timedelta(hours=24)


def test_a_late_run_that_leaves_as_soon_as_it_can_needs_no_push(table: Table) -> None:
    table.become("planned")
    table.clock.advance(2 * 3600)
    with pytest.raises(WrongState, match="as soon as it can"):
        table.act("send_run_now")


def test_a_rescheduled_campaign_keeps_the_old_run_as_history(table: Table) -> None:
    table.become("sealed")
    old = table.run().id
    table.act("reschedule")
    rows = queries.runs(table.project, table.campaign_id)
    assert [(row.state, row.occurrence, row.reason) for row in rows] == [
        (RunState.PLANNED, 2, ""),
        (RunState.STOPPED, 1, "rescheduled"),
    ]
    assert rows[1].id == old
    actions = [line.action for line in queries.audit(table.project, table.campaign_id)]
    assert actions[:2] == ["campaign.rescheduled", "run.stopped"]


def test_a_copy_has_the_plan_too(table: Table) -> None:
    from todoku.campaigns.types import Plan
    from todoku.delivery.types import QuietHours

    plan = Plan(quiet=QuietHours(1320, 480), pace_per_second=5.0, guard_factor=0.0)
    row = queries.get(table.project, table.campaign_id)
    services.update(
        table.project,
        row.id,
        name=row.name,
        content=row.content,
        audience=row.audience,
        version=row.version,
        plan=plan,
        by=BY,
        clock=table.clock,
    )
    copy = services.duplicate(table.project, row.id, by=BY, clock=table.clock)
    assert queries.get(table.project, copy).plan == plan


def test_states_of_tests_are_not_the_campaigns(table: Table) -> None:
    run_id = services.test_send(table.project, table.campaign_id, ["me@example.com"], by=BY, clock=table.clock)
    row = queries.get_run(table.project, run_id)
    assert (row.kind, row.state, row.occurrence) == (RunKind.TEST, RunState.PLANNED, 0)
    campaign = queries.get(table.project, table.campaign_id)
    assert (campaign.state, campaign.run) == (CampaignState.DRAFT, None)
    assert queries.runs(table.project, table.campaign_id) == []
    assert [one.id for one in queries.test_runs(table.project, table.campaign_id)] == [run_id]
    with pytest.raises(WrongState):
        services.send_run_now(table.project, run_id, by=BY, clock=table.clock)
