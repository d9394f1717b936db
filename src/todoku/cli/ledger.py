"""`todoku ledger ...`: where the rows of each month are, months to the archive, one run's books from all sides.

Rooms with tables are imported inside the commands: Django has to be awake before.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from todoku.bus.connection import Bus
from todoku.config.django_setup import set_up_django
from todoku.config.settings import embedded_nats_url, load_settings
from todoku.delivery.ledger.errors import NothingKnown
from todoku.delivery.ledger.types import RunAudit
from todoku.kernel.clock import SystemClock
from todoku.kernel.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Who got what: months, archive, and whether the books balance.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def wake_up() -> None:
    """Look after the ledger; the database must be running."""
    set_up_django()


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Say for each month whether its rows are in the database or in the archive."""
    from todoku.delivery.ledger import audit

    found = audit.months_status()
    if as_json:
        print(json.dumps({"months": [asdict(one) | {"month": f"{one.month:%Y-%m}"} for one in found]}))
        return
    if not found:
        print("The ledger is empty.")
    for one in found:
        print(
            f"{one.month:%Y-%m}  {one.state:<9}  {one.rows_in_database:>12,} rows in the database"
            f"  {one.rows_archived:>12,} archived ({one.archived_bytes / 1e6:,.1f} MB)"
        )


@app.command("archive")
def archive(
    older_than_months: Annotated[int, typer.Option(help="Months that ended so long ago; 3 at least.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Move old months to the vault, checked before their rows go; may be interrupted and run again at any time."""
    from todoku.delivery.ledger import services

    with Console(stderr=True).status("looking for old months") as line:
        moved = services.archive(older_than_months, clock=SystemClock(), on_step=lambda step: line.update(step))
    if as_json:
        print(json.dumps({"archived": [asdict(one) | {"month": f"{one.month:%Y-%m}"} for one in moved]}))
        return
    for one in moved:
        print(f"{one.month:%Y-%m}: {one.rows:,} rows in {one.files} files of {one.size_bytes / 1e6:,.1f} MB together")
    if not moved:
        print(f"No month that ended more than {older_than_months} months ago is left in the database.")


@app.command("audit")
def audit_run(
    project: Annotated[str, typer.Argument(metavar="PROJECT")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    as_json: AsJson = False,
) -> None:
    """Count a run in the journal, in the sums and in the rows; exit code 1 and the differences when they differ."""
    from todoku.delivery.ledger import audit

    try:
        run_id = UUID(run)
    except ValueError:
        raise ConfigurationError(f"{run!r} is no id of a run") from None

    async def look() -> RunAudit:
        settings = load_settings()
        bus = await Bus.connect(settings.nats_url or embedded_nats_url(settings.home), name="ledger-audit")
        try:
            return await audit.audit_run(bus, project, run_id)
        finally:
            await bus.close()

    found = asyncio.run(look())
    if not found.known:
        raise NothingKnown(f"nothing is known of a run {run_id} of {project!r}", todo="look at project and id again")
    if as_json:
        print(json.dumps(asdict(found) | {"run_id": str(found.run_id), "equal": found.equal}))
    else:
        _print_audit(found)
    if not found.equal:
        raise typer.Exit(1)


@app.command("replay")
def replay() -> None:
    """Read the whole journal again, after the database was restored from an older copy; nothing is counted twice."""
    from todoku.delivery.ledger.projector import begin_anew

    async def work() -> None:
        settings = load_settings()
        bus = await Bus.connect(settings.nats_url or embedded_nats_url(settings.home), name="ledger-replay")
        try:
            await begin_anew(bus)
        finally:
            await bus.close()

    asyncio.run(work())
    print("The role `book` reads the journal from its beginning now.")


def _print_audit(found: RunAudit) -> None:
    print(f"{'':<14}{'journal':>12}{'sums':>12}{'rows':>12}")
    for name, count in found.tally.items():
        journal = "gone" if found.journal is None else f"{found.journal[name]:,}"
        print(f"{name:<14}{journal:>12}{count:>12,}{found.rows[name]:>12,}")
    if found.waiting:
        print(f"{found.waiting:,} outcomes of the journal are not in the ledger yet.")
    print("All sides agree." if found.equal else f"Different: {', '.join(one.of for one in found.differences)}.")
