"""`todoku replay`: read mails again after a rule was mended; first the differences, then, with --apply, the change."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from todoku.cli.campaign_base import AsJson, Project, require_project, table
from todoku.config.settings import load_settings
from todoku.kernel.errors import TodokuError


class BadMoment(TodokuError):
    """A moment without a zone, or none at all."""


def replay(
    project: Project,
    since: Annotated[str, typer.Option(help="Arrived at or after, such as 2026-11-05T17:47+09:00.")] = "",
    until: Annotated[str, typer.Option(help="Arrived before.")] = "",
    source: Annotated[str, typer.Option(help="Only from this source.")] = "",
    site: Annotated[str, typer.Option(help="Only of this booking site.")] = "",
    shop: Annotated[str, typer.Option(help="Only for this shop.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state; else all that reading gave up on.")] = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Change the books; without it only say what would change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read mails again and say which would end otherwise today; nothing that is right is ever changed."""
    from todoku.config.django_setup import set_up_django

    set_up_django()
    from todoku.intake.replaying import Chosen
    from todoku.intake.types import END_STATES, MailState

    require_project(project)
    if state and state not in {one.value for one in END_STATES}:
        raise typer.BadParameter(f"{state!r} is none of {', '.join(one.value for one in END_STATES)}")
    chosen = Chosen(
        since_utc=_moment(since),
        until_utc=_moment(until),
        source=source or None,
        site=site or None,
        shop_code=shop or None,
        state=MailState(state) if state else None,
    )
    report = asyncio.run(_replay(project, chosen, apply=apply))
    if as_json:
        print(json.dumps(report, ensure_ascii=False, default=str))
        return
    rows = [
        [one["before"], one["after"], one["reference"] or one["reason_after"], one["subject"]]
        for one in report["different"]
    ]
    if rows:
        table(("was", "would be" if not apply else "now", "what", "subject"), rows)
    print(
        f"{report['read']} read again, {report['same']} the same, {len(rows)} different, {report['applied']} changed."
    )
    if rows and not apply:
        print("Nothing was changed. To change it: the same command with --apply")


async def _replay(project: str, chosen: Any, *, apply: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from todoku.intake.replaying import replay as read_again
    from todoku.vault import open_vault

    settings = load_settings()
    vault = open_vault(settings.vault_url, settings.home / "vault")
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Reading again", total=None)
            report = await read_again(
                vault, project, chosen, apply=apply, progress=lambda done: progress.update(task, completed=done)
            )
    finally:
        await vault.close()
    return asdict(report)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadMoment(f"{text!r} is no moment with a zone", todo="write it like 2026-11-05T17:47+09:00")
    return moment
