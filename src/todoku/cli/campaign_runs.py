"""`todoku campaign runs, run, names, resend, remedy, away, calendar`: watch what leaves, put right what did not."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from todoku.cli.campaign_base import (
    CLOCK,
    AsJson,
    By,
    Campaign,
    Project,
    Run,
    find_campaign,
    find_run,
    local,
    show,
    table,
    tell_pages,
    who,
)

if TYPE_CHECKING:
    from todoku.campaigns.types import RunRow
    from todoku.delivery.types import RecipientState

RESENDABLE = ("refused", "unrenderable", "expired", "unknown", "pending")
REMEDIES = ("send_now", "resend", "skip", "acknowledge")


def add_to(app: typer.Typer) -> None:
    """Add these commands to `todoku campaign`."""
    for name, command in (
        ("runs", runs),
        ("run", run),
        ("names", names),
        ("resend", resend),
        ("remedy", remedy),
        ("away", away),
        ("calendar", calendar),
    ):
        app.command(name)(command)


def runs(campaign: Campaign, project: Project, as_json: AsJson = False) -> None:
    """List the runs of a campaign, newest first, with their balances."""
    from todoku.api.shapes import RunOut
    from todoku.campaigns import queries

    rows = queries.runs(project, find_campaign(project, campaign).id)
    at = local(project)
    lines = [
        [str(row.id), row.kind, row.state, at(row.due_at_utc), _late(row), f"{row.balance.sent}/{row.balance.planned}"]
        for row in rows
    ]
    show(
        [RunOut.of(row) for row in rows],
        as_json,
        lambda: table(("id", "kind", "state", "due", "late", "sent/planned"), lines),
    )


def run(run: Run, project: Project, as_json: AsJson = False) -> None:
    """Show one run: its balance, its lateness, its timeline."""
    from todoku.api.shapes import RunOut
    from todoku.campaigns import queries

    row = find_run(project, run)

    def lines() -> None:
        at = local(project)
        late = f", {_late(row)} late" if _late(row) else ""
        print(f"{row.id}  {row.kind}, {row.state}, due {at(row.due_at_utc)}{late}")
        if row.reason:
            print(f"  {row.reason}")
        numbers = row.balance.as_dict()
        planned = numbers.pop("planned")
        print(f"  {planned:,} planned = " + " + ".join(f"{count:,} {state}" for state, count in numbers.items()))
        for one in queries.timeline(project, row.id):
            print(f"  {at(one.at_utc)}  {one.what}  {one.detail}  {one.by}".rstrip())

    show(RunOut.of(row), as_json, lines)


def names(
    run: Run,
    project: Project,
    state: Annotated[str, typer.Option(help="Only those in this state, for example refused.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    language: Annotated[str, typer.Option(help="Of header and states: ja or en.")] = "en",
) -> None:
    """Print the names behind the numbers as a CSV; no cell of it can become a formula in a spreadsheet."""
    from todoku.campaigns import names_csv

    if language not in names_csv.HEADERS:
        raise typer.BadParameter("ja or en", param_hint="--language")
    states = _states([state] if state else [])
    row = find_run(project, run)
    pieces = names_csv.stream(project, row.id, states, language=language)
    if output is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with output.open("wb") as file:
        file.writelines(pieces)
    print(f"Written to {output}", file=sys.stderr)


def resend(
    run: Run,
    project: Project,
    state: Annotated[list[str], typer.Option(help=f"Whom: {', '.join(RESENDABLE)}; may be said several times.")],
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Send to those whom a run did not reach. `unknown` may mean that somebody gets it twice: say it on purpose."""
    from todoku.api.shapes import RunOut
    from todoku.campaigns import queries, services

    odd = [one for one in state if one not in RESENDABLE]
    if odd:
        raise typer.BadParameter(f"{odd[0]!r} can't be sent again: {', '.join(RESENDABLE)}", param_hint="--state")
    row = find_run(project, run)
    made = services.send_to_not_reached(project, row.id, states=_states(state), by=who(by), clock=CLOCK)
    tell_pages(project)
    fresh = queries.get_run(project, made)
    show(RunOut.of(fresh), as_json, lambda: print(f"A new run goes to them: todoku campaign run {made} -p {project}"))


def remedy(
    action: Annotated[str, typer.Argument(help=f"What to do: {', '.join(REMEDIES)}.")],
    project: Project,
    runs: Annotated[list[str] | None, typer.Argument(help="Ids of runs.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every run of `away` that this can help.")] = False,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Put late, held and missed runs right, one or all; exit code 1 when one of them could not be."""
    from todoku.api.shapes import RemedyOut
    from todoku.campaigns import queries, services

    if action not in REMEDIES:
        raise typer.BadParameter(f"there is no remedy {action!r}: {', '.join(REMEDIES)}", param_hint="ACTION")
    if bool(runs) == everything:
        raise typer.BadParameter("name runs, or say --all", param_hint="RUNS")
    if everything:
        ids = [one.run.id for one in queries.while_away(project, clock=CLOCK) if action in one.remedies]
    else:
        ids = [find_run(project, one).id for one in runs or []]
    results = services.remedy(project, ids, action, by=who(by), clock=CLOCK)
    tell_pages(project)
    lines = [[str(one.run_id), one.problem or "done", str(one.new_run_id or "")] for one in results]
    show([RemedyOut.of(one) for one in results], as_json, lambda: table(("run", "result", "new run"), lines))
    if any(one.problem for one in results):
        raise typer.Exit(1)


def away(project: Project, as_json: AsJson = False) -> None:
    """List every late, held and missed run that nobody has answered yet."""
    from todoku.api.shapes import AwayOut
    from todoku.campaigns import queries
    from todoku.projects import queries as projects

    projects.get_project(project)
    rows = queries.while_away(project, clock=CLOCK)
    at = local(project)
    lines = [
        [str(one.run.id), one.what, one.campaign_name, at(one.run.due_at_utc), one.run.reason, ", ".join(one.remedies)]
        for one in rows
    ]
    show(
        [AwayOut.of(one) for one in rows],
        as_json,
        lambda: table(("run", "what", "campaign", "due", "reason", "remedies"), lines),
    )


def calendar(
    project: Project,
    first: Annotated[str, typer.Option(help="First day, 2026-12-01; today when left out.")] = "",
    days: Annotated[int, typer.Option(min=1, max=92, help="How many days.")] = 14,
    as_json: AsJson = False,
) -> None:
    """List all starts, past and to come, of some days."""
    from todoku.api.shapes import CalendarOut
    from todoku.campaigns import queries
    from todoku.projects import queries as projects

    zone = ZoneInfo(projects.get_project(project).time_zone)
    try:
        begin = date.fromisoformat(first) if first else CLOCK.now_utc().astimezone(zone).date()
    except ValueError as error:
        raise typer.BadParameter(f"{first!r} is no day: write 2026-12-01", param_hint="--first") from error
    entries = queries.calendar(project, begin, begin + timedelta(days=days - 1), clock=CLOCK)
    at = local(project)
    lines = [
        [at(one.due_at_utc)[:16], one.state, one.name, f"{one.planned:,}" if one.planned else ""] for one in entries
    ]
    show(
        [CalendarOut.of(one) for one in entries],
        as_json,
        lambda: table(("due", "state", "campaign", "planned"), lines),
    )


def _states(names: list[str]) -> tuple[RecipientState, ...]:
    from todoku.delivery.types import RecipientState

    try:
        return tuple(RecipientState(one) for one in names)
    except ValueError as error:
        raise typer.BadParameter(f"{error}: {', '.join(RecipientState)}", param_hint="--state") from error


def _late(row: RunRow) -> str:
    return "" if row.seconds_late is None else f"{row.seconds_late:.1f} s"
