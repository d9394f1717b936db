"""`todoku import PATH`: hand over mails that lie in files."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from todoku.config.settings import Settings, embedded_nats_url, load_settings
from todoku.kernel.errors import TodokuError


class NothingToImport(TodokuError):
    """The path leads to no mail."""


def import_mail(
    path: Annotated[Path, typer.Argument(help="A .eml file, an mbox, a Maildir, or a folder of any of them.")],
    project: Annotated[str, typer.Option(help="The project that the mails belong to.")] = "todoku-demo",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Take mails from files into a project: kept byte for byte, then read like any other mail.

    Needs running engines (`todoku serve` or `make demo` in another terminal). Importing again loses and doubles
    nothing: each mail handed over a second time ends as `duplicate`.
    """
    if not path.exists():
        raise NothingToImport(f"there is nothing at {path}", todo="name a .eml file, an mbox, a Maildir or a folder")
    report = asyncio.run(_import(path, project, load_settings()))
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(f"{report['arrived']} of {report['found']} mails have arrived; they are being read now.")
        for failure in report["failed"]:
            print(f"  not taken: {failure['path']}: {failure['why']}", file=sys.stderr)
    if report["aborted"]:
        print(f"The import ended early: {report['aborted']}", file=sys.stderr)
    if report["failed"] or report["aborted"]:
        raise typer.Exit(1)


async def _import(path: Path, project: str, settings: Settings) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from todoku.bus.connection import Bus
    from todoku.kernel.clock import SystemClock
    from todoku.sources.arrivals import ArrivalWriter
    from todoku.sources.files import import_path
    from todoku.vault import open_vault

    bus = await Bus.connect(settings.nats_url or embedded_nats_url(settings.home), name="import")
    vault = open_vault(settings.vault_url, settings.home / "vault")
    try:
        await bus.declare()
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Taking mails in", total=None)
            report = await import_path(
                path,
                ArrivalWriter(vault, bus, SystemClock()),
                project_id=project,
                progress=lambda done: progress.update(task, completed=done),
            )
    finally:
        await bus.close()
        await vault.close()
    return {
        "found": report.found,
        "arrived": report.arrived,
        "failed": [{"path": str(where), "why": why} for where, why in report.failed],
        "aborted": report.aborted,
    }
