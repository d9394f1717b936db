"""`todoku project key, keys, revoke-key`: which programs may use the api of a project."""

from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

import typer

from todoku.kernel.clock import SystemClock

ProjectId = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's short name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `todoku project`."""
    for name, command in (("key", key), ("keys", keys), ("revoke-key", revoke_key)):
        app.command(name)(command)


def key(
    project: ProjectId,
    name: Annotated[str, typer.Argument(help="Which program will use it; audit lines say so.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, write; read alone when left out.")] = None,
    by: Annotated[str, typer.Option("--by", help="Address of the member who will hold it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key for the api; it is printed once and kept nowhere."""
    from todoku.api import services
    from todoku.api.types import Scope
    from todoku.cli.campaign_base import who

    try:
        scopes = [Scope(one) for one in scope or ["read"]]
    except ValueError as error:
        raise typer.BadParameter(f"{error}: read or write", param_hint="--scope") from error
    made = services.create_key(project, name=name, scopes=scopes, by=who(by), clock=SystemClock())
    if as_json:
        print(json.dumps({"id": str(made.info.id), "token": made.token, "scopes": sorted(made.info.scopes)}))
    else:
        print(made.token)


def keys(project: ProjectId, as_json: AsJson = False) -> None:
    """List the keys of a project; their secrets are not known here."""
    from todoku.api import queries
    from todoku.cli.campaign_base import local, table

    rows, at = queries.list_keys(project), local(project)
    if as_json:
        document = [
            {
                "id": str(row.id),
                "name": row.name,
                "scopes": sorted(row.scopes),
                "created_by": row.created_by,
                "created_at": row.created_at_utc.isoformat(),
                "last_used_at": row.last_used_at_utc.isoformat() if row.last_used_at_utc else None,
                "revoked_at": row.revoked_at_utc.isoformat() if row.revoked_at_utc else None,
            }
            for row in rows
        ]
        print(json.dumps(document, ensure_ascii=False))
        return
    lines = [
        [
            str(row.id),
            row.name,
            " ".join(sorted(row.scopes)),
            f"used {at(row.last_used_at_utc)}" if row.last_used_at_utc else "never used",
            f"revoked {at(row.revoked_at_utc)}" if row.revoked_at_utc else "in use",
        ]
        for row in rows
    ]
    table(("id", "name", "scopes", "used", "state"), lines)


def revoke_key(
    project: ProjectId, key_id: Annotated[UUID, typer.Argument(metavar="KEY", help="Its id: todoku project keys.")]
) -> None:
    """Let a key open nothing from now on."""
    from todoku.api import services
    from todoku.cli.campaign_base import who

    services.revoke_key(project, key_id, by=who(""), clock=SystemClock())
    print("The key opens nothing any more.")
