"""`todoku replay`: read mails again after a rule was mended; first the differences, then, with --apply, the change."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todoku.cli.campaign_base import AsJson, Project, require_project, table
from todoku.config.settings import load_settings
from todoku.kernel.errors import TodokuError

if TYPE_CHECKING:
    from todoku.intake.replaying import Chosen, Replay


class BadMoment(TodokuError):
    """A moment without a zone, or none at all."""


def replay(
    project: Project,
    since: Annotated[str, typer.Option(help="Arrived at or after, such as 2026-11-05T17:47+09:00.")] = "",
    until: Annotated[str, typer.Option(help="Arrived before.")] = "",
    source: Annotated[str, typer.Option(help="Only from this source.")] = "",
    site: Annotated[str, typer.Option(help="Only of this booking site.")] = "",
    shop: Annotated[str, typer.Option(help="Only for this shop.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state, such as unknown_layout.")] = "",
    rules: Annotated[
        str, typer.Option(help="'older': not read by today's rules yet; or the version that read them.")
    ] = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Change the books; without it only say what would change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read mails again and say in what they would differ today; nothing that is right is ever changed."""
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
        rules=rules or None,
    )
    report = asyncio.run(_replay(project, chosen, apply=apply))
    if as_json:
        print(json.dumps(_plain(report), ensure_ascii=False, default=str))
    else:
        _tell(report, apply=apply)


def _tell(report: Replay, *, apply: bool) -> None:
    """Print the differences value by value, then how many of which kind, then the sum."""
    rows = []
    for one in report.different:
        what = one.reference or one.reason_after
        rows.append([one.before, one.after, what, "", "", "", one.subject])
        rows += [["", "", "", value.field, value.before or "-", value.after or "-", ""] for value in one.values]
    if rows:
        would = "now" if apply else "would be"
        table(("was", would, "booking or why", "value", "read", f"{would} read", "subject"), rows)
    if report.differing > len(report.different):
        print(f"... and {report.differing - len(report.different)} more.")
    for (before, after), count in report.kinds.most_common():
        print(f"{count:>8} {before} -> {after if after is not before else 'other values'}")
    print(
        f"{report.read} read again: {report.same} the same, {report.differing} different, "
        f"{report.unread} whose bytes the vault could not give now; {report.amended} changed."
    )
    if report.differing and not apply:
        print("Nothing was changed. To change it: the same command with --apply")


def _plain(report: Replay) -> dict[str, Any]:
    plain = asdict(report)
    plain["kinds"] = [{"before": old, "after": new, "mails": count} for (old, new), count in report.kinds.items()]
    return plain


async def _replay(project: str, chosen: Chosen, *, apply: bool) -> Replay:
    from rich.console import Console
    from rich.progress import Progress

    from todoku.intake.replaying import replay as read_again
    from todoku.vault import open_vault

    settings = load_settings()
    vault = open_vault(settings.vault_url, settings.home / "vault")
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Reading again", total=None)
            return await read_again(
                vault, project, chosen, apply=apply, progress=lambda done: progress.update(task, completed=done)
            )
    finally:
        await vault.close()


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
