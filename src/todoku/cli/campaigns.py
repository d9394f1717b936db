"""`todoku campaign ...`: plan, send and watch campaigns; the same as the pages do.

Rooms with tables are imported inside the commands: Django has to be awake before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from todoku.cli import campaign_runs
from todoku.cli.campaign_base import (
    CLOCK,
    AsJson,
    By,
    Campaign,
    NotFound,
    Project,
    Reason,
    find_campaign,
    local,
    show,
    table,
    tell_pages,
    who,
)
from todoku.config.django_setup import set_up_django
from todoku.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from todoku.campaigns.types import CampaignRow, Plan

app = typer.Typer(no_args_is_help=True, help="Plan, send and watch campaigns.")
At = Annotated[str, typer.Option("--at", help="Once, then: 2026-12-01T12:00, by the project's clock unless it says.")]
RepeatText = Annotated[
    str, typer.Option("--repeat", help='"daily 10:30", "weekly mon,thu 10:30 until 2027-03-31", "monthly last 10:30"')
]


@app.callback()
def wake_up() -> None:
    """Plan, send and watch campaigns; the database must be running."""
    set_up_django()


@app.command("list")
def list_all(
    project: Project,
    state: Annotated[str, typer.Option(help="Only those in this state, for example scheduled.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the campaigns, newest first."""
    from todoku.api.shapes import CampaignOut
    from todoku.campaigns import queries
    from todoku.campaigns.types import CampaignState
    from todoku.projects import queries as projects

    if state and state not in {one.value for one in CampaignState}:
        raise typer.BadParameter(f"there is no state {state!r}: {', '.join(CampaignState)}", param_hint="--state")
    projects.get_project(project)
    rows = [row for row in queries.list_campaigns(project) if not state or row.state == state]
    at = local(project)
    lines = [
        [str(row.id), row.name, row.state, at(row.next_due_at_utc or row.due_at_utc), _run_words(row)] for row in rows
    ]
    show(
        [CampaignOut.of(row) for row in rows],
        as_json,
        lambda: table(("id", "name", "state", "due", "newest run"), lines),
    )


@app.command("show")
def show_one(campaign: Campaign, project: Project, as_json: AsJson = False) -> None:
    """Show one campaign, and what speaks against sending it."""
    from todoku.campaigns import queries

    row = find_campaign(project, campaign)
    _print(row, as_json)
    if not as_json and row.state == "draft":
        for one in queries.obstacles(project, row.id, clock=CLOCK):
            print(f"Against sending: {one.message}")


@app.command("create")
def create(
    project: Project,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON: name, subject, html, text, audience, plan.")
    ] = None,
    name: Annotated[str, typer.Option(help="What your people call it; goes before the file's.")] = "",
    starter: Annotated[str, typer.Option(help="Without a file: begin with the written letter, ja or en.")] = "ja",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Make a draft from a file, or from the letter that is already written; prints its id."""
    from todoku.api.campaigns import CampaignIn
    from todoku.api.plans import to_plan
    from todoku.campaigns import queries, services
    from todoku.content.starters import load_starter
    from todoku.projects import queries as projects

    projects.get_project(project)
    if file is None:
        if starter not in {"ja", "en"}:
            raise typer.BadParameter("ja or en", param_hint="--starter")
        words = load_starter("en" if starter == "en" else "ja")
        kept: dict[str, Any] = {"name": name, "subject": words.subject, "html": words.html, "text": words.text}
    else:
        kept = _read(file) | ({"name": name} if name else {})
    try:
        document = CampaignIn.model_validate(kept)
    except ValueError as error:
        raise ConfigurationError(f"{file or 'the campaign'} is not understood: {error}") from error
    made = services.create(
        project,
        name=document.name,
        content=document.content(),
        audience=document.audience.to_audience(),
        plan=to_plan(document.plan, project),
        by=who(by),
        clock=CLOCK,
    )
    tell_pages(project)
    _print(queries.get(project, made), as_json)


@app.command("schedule")
def schedule(
    campaign: Campaign, project: Project, at: At = "", repeat: RepeatText = "", by: By = "", as_json: AsJson = False
) -> None:
    """Schedule a draft: once (--at), repeating (--repeat), or as its plan says (neither)."""
    from todoku.campaigns import services

    row = find_campaign(project, campaign)
    due = _moment(at, project)
    if repeat:
        services.update(
            project,
            row.id,
            name=row.name,
            content=row.content,
            audience=row.audience,
            plan=_repeating(row.plan, repeat, project),
            version=row.version,
            by=who(by),
            clock=CLOCK,
        )
    services.schedule(project, row.id, due_at_utc=due, by=who(by), clock=CLOCK)
    _done(project, row, as_json)


@app.command("reschedule")
def reschedule(
    campaign: Campaign, project: Project, at: At = "", repeat: RepeatText = "", by: By = "", as_json: AsJson = False
) -> None:
    """Give a scheduled or paused campaign another time, or other repetitions; its history stays."""
    from todoku.campaigns import services

    if not at and not repeat:
        raise typer.BadParameter("say --at or --repeat", param_hint="--at")
    row = find_campaign(project, campaign)
    plan = _repeating(row.plan, repeat, project) if repeat else None
    services.reschedule(project, row.id, due_at_utc=_moment(at, project), plan=plan, by=who(by), clock=CLOCK)
    _done(project, row, as_json)


@app.command("send-now")
def send_now(campaign: Campaign, project: Project, by: By = "", as_json: AsJson = False) -> None:
    """Send at once: a draft, a scheduled campaign, or its run that waits."""
    from todoku.campaigns import services

    _act(services.send_now, campaign, project, by, as_json)


@app.command("pause")
def pause(campaign: Campaign, project: Project, reason: Reason = "", by: By = "", as_json: AsJson = False) -> None:
    """Keep it from going on; senders obey within one window."""
    from todoku.campaigns import services

    _act(services.pause, campaign, project, by, as_json, reason=reason)


@app.command("resume")
def resume(campaign: Campaign, project: Project, reason: Reason = "", by: By = "", as_json: AsJson = False) -> None:
    """Let it go on; what became late meanwhile leaves at once."""
    from todoku.campaigns import services

    _act(services.resume, campaign, project, by, as_json, reason=reason)


@app.command("stop")
def stop(campaign: Campaign, project: Project, reason: Reason, by: By = "", as_json: AsJson = False) -> None:
    """End it for good; whoever was not written to stays pending in its balance."""
    from todoku.campaigns import services

    _act(services.stop, campaign, project, by, as_json, reason=reason)


@app.command("back-to-draft")
def back_to_draft(
    campaign: Campaign, project: Project, reason: Reason = "", by: By = "", as_json: AsJson = False
) -> None:
    """Make it editable again; not once it is leaving."""
    from todoku.campaigns import services

    _act(services.back_to_draft, campaign, project, by, as_json, reason=reason)


@app.command("duplicate")
def duplicate(campaign: Campaign, project: Project, by: By = "", as_json: AsJson = False) -> None:
    """Make a new draft with the same words, audience and plan; prints it."""
    from todoku.campaigns import queries, services

    row = find_campaign(project, campaign)
    made = services.duplicate(project, row.id, by=who(by), clock=CLOCK)
    tell_pages(project)
    _print(queries.get(project, made), as_json)


@app.command("approve")
def approve(campaign: Campaign, project: Project, by: By = "", as_json: AsJson = False) -> None:
    """Approve it as a second person; --by names a member who may send campaigns."""
    from todoku.campaigns import services
    from todoku.projects import queries as projects
    from todoku.projects.types import Right

    row = find_campaign(project, campaign)
    member = next((one for one in projects.list_members(project) if one.email == by.strip().casefold()), None)
    if member is None or not member.may(Right.SEND_CAMPAIGNS):
        raise NotFound(f"no member who may send campaigns signs in as {by!r}", todo="say who approves: --by ADDRESS")
    services.approve(project, row.id, by=member.signature, clock=CLOCK)
    _done(project, row, as_json)


@app.command("test-send")
def send_test(
    campaign: Campaign,
    addresses: Annotated[list[str], typer.Argument(help="To whom the test goes.")],
    project: Project,
    guest: Annotated[str, typer.Option(help="Id of the guest whose values it shows.")] = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Send the message as it is now to a few addresses; prints the run of the test."""
    from uuid import UUID

    from todoku.api.shapes import RunOut
    from todoku.campaigns import queries, services

    row = find_campaign(project, campaign)
    try:
        guest_id = UUID(guest) if guest else None
    except ValueError as error:
        raise typer.BadParameter("an id is wanted", param_hint="--guest") from error
    made = services.test_send(project, row.id, addresses=addresses, guest_id=guest_id, by=who(by), clock=CLOCK)
    tell_pages(project)
    run = queries.get_run(project, made)
    show(RunOut.of(run), as_json, lambda: print(f"The test is on its way: todoku campaign run {made} -p {project}"))


campaign_runs.add_to(app)


def _act(act: Callable[..., object], campaign: str, project: str, by: str, as_json: bool, **more: str) -> None:
    row = find_campaign(project, campaign)
    act(project, row.id, by=who(by), clock=CLOCK, **more)
    _done(project, row, as_json)


def _done(project: str, row: CampaignRow, as_json: bool) -> None:
    from todoku.campaigns import queries

    tell_pages(project)
    _print(queries.get(project, row.id), as_json)


def _print(row: CampaignRow, as_json: bool) -> None:
    from todoku.api.shapes import CampaignOut

    show(CampaignOut.of(row), as_json, lambda: _lines(row))


def _lines(row: CampaignRow) -> None:
    from todoku.campaigns.occurrences import describe

    at = local(row.project_id)
    print(f"{row.name}  ({row.id})")
    print(f"  state    {row.state}")
    if row.plan.repeat is not None:
        print(f"  repeats  {describe(row.plan.repeat, 'en')}")
    if row.next_due_at_utc or row.due_at_utc:
        print(f"  due      {at(row.next_due_at_utc or row.due_at_utc)}")
    if row.approval is not None:
        print(
            f"  approval {'given by ' + row.approval.given_by if row.approval.given else 'waits for a second person'}"
        )
    if row.run is not None:
        print(f"  run      {row.run.id}  {_run_words(row)}")


def _run_words(row: CampaignRow) -> str:
    run = row.run
    if run is None:
        return ""
    balance = run.balance
    sent = f", {balance.sent:,} of {balance.planned:,} sent" if balance.planned else ""
    return f"{run.state}{sent}{': ' + run.reason if run.reason else ''}"


def _moment(text: str, project: str) -> datetime | None:
    from todoku.projects import queries as projects

    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time: write 2026-12-01T12:00", param_hint="--at") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(projects.get_project(project).time_zone))


def _repeating(plan: Plan, text: str, project: str) -> Plan:
    from dataclasses import replace

    from todoku.api.plans import to_plan
    from todoku.api.repeat_text import parse_repeat
    from todoku.api.shapes import PlanDoc
    from todoku.projects import queries as projects

    repeat = parse_repeat(text, projects.get_project(project).time_zone)
    return replace(plan, repeat=to_plan(PlanDoc(repeat=repeat), project).repeat)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file} must hold one JSON object")
    return document
