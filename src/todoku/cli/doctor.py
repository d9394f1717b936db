"""`todoku doctor`: say what is wrong, and what to do about it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from todoku.config.settings import load_settings
from todoku.kernel.health import Health, HealthState

_MARKS = {
    HealthState.OK: "[green]ok[/green]",
    HealthState.LATE: "[yellow]late[/yellow]",
    HealthState.FAILING: "[red]failing[/red]",
    HealthState.UNKNOWN: "[yellow]unknown[/yellow]",
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: healthy, and the facts.")] = False,
) -> None:
    """Check settings, engines, clocks, ports and disks; exit code 1 when something must be done."""
    from todoku.config.checkup import check_up

    facts = check_up(load_settings())
    healthy = all(fact.state is not HealthState.FAILING for fact in facts)
    if as_json:
        print(json.dumps({"healthy": healthy, "facts": [_as_json(fact) for fact in facts]}, ensure_ascii=False))
    else:
        _show(facts)
    if not healthy:
        raise typer.Exit(1)


def _as_json(fact: Health) -> dict[str, str]:
    return {
        "name": fact.name,
        "state": fact.state.value,
        "detail": fact.detail,
        "todo": fact.todo,
        "observed_at": fact.observed_at_utc.isoformat(),
    }


def _show(facts: list[Health]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("check", "state", "what was seen", "what to do"):
        table.add_column(heading, overflow="fold")
    for fact in facts:
        table.add_row(fact.name, _MARKS[fact.state], fact.detail, fact.todo)
    Console(highlight=False).print(table)
