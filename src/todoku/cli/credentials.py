"""`todoku credential ...`: what Todoku logs in with. Secrets are read from files or standard input, never shown."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from todoku.bus.connection import Bus
from todoku.cli.bus_calls import with_bus
from todoku.cli.campaign_base import AsJson, Project, require_project, table
from todoku.cli.inventory_base import Name, Public, Secret, read_secrets, settings_of, show_installation, shown_moment
from todoku.config.collectors import open_inventory
from todoku.config.settings import Settings
from todoku.credentials.cipher import new_key
from todoku.credentials.types import Row
from todoku.kernel.clock import SystemClock
from todoku.sources.credentials import CredentialKind
from todoku.sources.registry import SourceBook, SourceEntry

app = typer.Typer(no_args_is_help=True, help="Keep, replace and list credentials; nothing here shows a secret.")


@app.command("add")
def add(
    project: Project,
    name: Name,
    kind: Annotated[CredentialKind, typer.Option(help="What kind it is.")],
    public: Public = [],  # noqa: B006  # typer reads the default and never changes it
    secret: Secret = [],  # noqa: B006
    note: Annotated[str, typer.Option(help="A word for people: whose it is, where it was made.")] = "",
) -> None:
    """Keep a credential, encrypted."""
    require_project(project)
    secrets = read_secrets(public, secret)
    with_bus(
        lambda settings, bus: open_inventory(settings, bus, SystemClock()).add(project, name, kind, secrets, note=note)
    )
    print(f"{name} is kept. Give it to a source: todoku source set -p {project} SOURCE -c {name}")


@app.command("replace")
def replace(project: Project, name: Name, public: Public = [], secret: Secret = []) -> None:  # noqa: B006
    """Put a newer secret beside the old one; the old one goes when a server has accepted the new one."""
    secrets = read_secrets(public, secret)
    with_bus(lambda settings, bus: open_inventory(settings, bus, SystemClock()).offer(project, name, secrets))
    print(f"The new secret of {name} is tried at the next login; until it is accepted the old one stays in use.")


@app.command("remove")
def remove(project: Project, name: Name) -> None:
    """Forget a credential."""
    with_bus(lambda settings, bus: open_inventory(settings, bus, SystemClock()).remove(project, name))
    print(f"{name} is forgotten.")


@app.command("list")
def list_all(
    project: Annotated[
        str, typer.Option("--project", "-p", envvar="TODOKU_PROJECT", help="The project's short name.")
    ] = "",
    installation: Annotated[
        bool, typer.Option("--installation", help="What our own doors show, as `todoku certificate list`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the inventory: kind, condition, life left, last use. Never a secret."""
    if installation:
        show_installation(as_json=as_json)
        return
    if not project:
        raise typer.BadParameter("name a project by -p, or give --installation")

    async def ask(settings: Settings, bus: Bus) -> tuple[list[Row], list[SourceEntry]]:
        return await open_inventory(settings, bus, SystemClock()).rows(project), await SourceBook(bus).list(project)

    rows, entries = with_bus(ask)
    documents = [
        _document(row) | {"used_by": [one.source for one in entries if row.credential_id in one.credential_ids]}
        for row in rows
    ]
    if as_json:
        print(json.dumps(documents, ensure_ascii=False))
        return
    if not documents:
        print("There is no credential yet: todoku credential add --help")
        return
    shown = [[str(one[key] or "") for key in ("name", "kind", "condition", "ends", "used_at")] for one in documents]
    table(("name", "kind", "condition", "ends", "last use"), shown)


@app.command("renew-by")
def renew_by(
    project: Project,
    name: Name,
    hook: Annotated[str, typer.Argument(metavar="HOOK", help="command, file, oauth, http, or hand.")],
    settings: Public = [],  # noqa: B006
) -> None:
    """Set how a new secret is had at two thirds of the life; see docs/sources.md for each hook's settings."""
    renewal = settings_of(hook, settings)
    with_bus(lambda config, bus: open_inventory(config, bus, SystemClock()).renew_by(project, name, renewal))
    print(f"{name} is renewed by {hook} from now on.")


@app.command("new-key")
def make_key() -> None:
    """Print a fresh key for TODOKU_SECRETS_KEYS; put it before the old ones."""
    print(new_key())


@app.command("encrypt-anew")
def encrypt_anew() -> None:
    """Encrypt every secret with the newest key; afterwards the older keys may go."""
    count = with_bus(lambda settings, bus: open_inventory(settings, bus, SystemClock()).encrypt_anew())
    print(f"{count} credentials are encrypted with the newest key; older keys may be taken away.")


def _document(row: Row) -> dict[str, Any]:
    facts, notes = row.facts, row.notes
    return {
        "name": row.credential_id,
        "kind": row.kind.value,
        "condition": row.condition.value,
        "issuer": facts.issuer,
        "begins": shown_moment(facts.not_before_utc),
        "ends": shown_moment(facts.not_after_utc),
        "life_left": round(row.life_left, 3) if row.life_left is not None else None,
        "used_at": shown_moment(notes.used_at_utc),
        "refused_at": shown_moment(notes.refused_at_utc),
        "refused_why": notes.refused_why,
        "renewed_by": row.renewed_by,
        "renewal_at": shown_moment(notes.renewal_at_utc),
        "renewal_why": notes.renewal_why,
        "has_candidate": row.has_candidate,
        "note": row.note,
    }
