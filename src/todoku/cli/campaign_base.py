"""What all commands of `todoku campaign` share: options, finding what is meant, printing, telling open pages."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from todoku.kernel.clock import SystemClock
from todoku.kernel.errors import TodokuError

if TYPE_CHECKING:
    from todoku.campaigns.types import CampaignRow, RunRow

Project = Annotated[str, typer.Option("--project", "-p", envvar="TODOKU_PROJECT", help="The project's short name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the audit log; a member's address for approvals.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]
Campaign = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or its name when only one has it.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Its id; or a campaign, then its run that matters now.")]

CLOCK = SystemClock()
TELL_SECONDS = 2.0


class NotFound(TodokuError):
    """Nothing, or more than one thing, has this name."""


def who(by: str) -> str:
    """Return who acts, as audit lines name it: what was said, else the user of this machine."""
    return by or f"cli: {getpass.getuser()}"


def require_project(project: str) -> None:
    """Raise ProjectMissing when the database says so; a database that is away is not waited for and not believed."""
    from django.db import DatabaseError, InterfaceError

    from todoku.config.django_setup import set_up_django

    set_up_django()
    from todoku.projects import queries as projects

    try:
        projects.get_project(project)
    except (DatabaseError, InterfaceError):
        print(f"The database is away, so nobody knows whether there is a project {project}.", file=sys.stderr)


def find_campaign(project: str, text: str) -> CampaignRow:
    """Return the campaign that an id or a name means; raises NotFound, CampaignMissing, ProjectMissing."""
    from todoku.campaigns import queries
    from todoku.projects import queries as projects

    projects.get_project(project)
    wanted = _uuid(text)
    if wanted is not None:
        return queries.get(project, wanted)
    named = [row for row in queries.list_campaigns(project) if row.name == text]
    if len(named) != 1:
        what = f"{len(named)} campaigns are" if named else "no campaign is"
        raise NotFound(f"{what} named {text!r} in {project}", todo="name its id: todoku campaign list")
    return named[0]


def find_run(project: str, text: str) -> RunRow:
    """Return the run that an id means, or the one of a campaign that matters now; raises as `find_campaign`."""
    from todoku.campaigns import queries
    from todoku.campaigns.errors import CampaignMissing

    wanted = _uuid(text)
    if wanted is not None:
        try:
            return queries.get_run(project, wanted)
        except CampaignMissing:
            pass  # it may be the id of a campaign
    campaign = find_campaign(project, text)
    if campaign.run is None:
        raise NotFound(f"the campaign {campaign.name!r} has no run yet", todo="todoku campaign schedule, or send-now")
    return campaign.run


def tell_pages(project: str) -> None:
    """Let open pages show what changed; without a bus they find it by asking again."""
    from todoku.bus.connection import Bus
    from todoku.bus.errors import BusError
    from todoku.config.settings import embedded_nats_url, load_settings
    from todoku.kernel.errors import ConfigurationError

    async def tell() -> None:
        settings = load_settings()
        bus = await Bus.connect(
            settings.nats_url or embedded_nats_url(settings.home), name="cli", wait_seconds=TELL_SECONDS
        )
        try:
            await bus.publish_event(project, "run", {})
        finally:
            await bus.close()

    try:
        asyncio.run(tell())
    except (BusError, ConfigurationError, OSError):
        return  # the change is in the database; only the signal is missing


def show(document: Any, as_json: bool, lines: Callable[[], None]) -> None:
    """Print a document of the api as JSON, or let `lines` print it for people."""
    if not as_json:
        lines()
        return
    if isinstance(document, list):
        print(json.dumps([one.model_dump(mode="json") for one in document], ensure_ascii=False))
    else:
        print(json.dumps(document.model_dump(mode="json"), ensure_ascii=False))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; plain and unwrapped in a pipe."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        for row in rows:
            print("\t".join(row))
        return
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(one.replace("[", "\\[") for one in row))
    console.print(made)


def local(project: str) -> Callable[[Any], str]:
    """Return a function that writes a moment by the project's clock: 2026-12-01 12:00:05, "" for None."""
    from zoneinfo import ZoneInfo

    from todoku.projects import queries as projects

    zone = ZoneInfo(projects.get_project(project).time_zone)
    return lambda moment: "" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
