"""`todoku source ...`: places from which mails are fetched, and how each stands. Needs the bus, no database."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import typer

from todoku.bus.connection import Bus
from todoku.cli.bus_calls import with_bus
from todoku.cli.campaign_base import AsJson, Project, require_project, table
from todoku.config.settings import Settings, load_settings
from todoku.kernel.clock import SystemClock
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.sources.standing import Standing, Truth, read_standings, truth_of

app = typer.Typer(no_args_is_help=True, help="Add, try, pause and list the places from which mails are fetched.")

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Its short name, such as imap-ginza.")]
Setting = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="A setting of its kind; repeatable.")]
Credentials = Annotated[
    list[str], typer.Option("--credential", "-c", help="A credential's name, in the order to try; repeatable.")
]

_WORDS = {
    Truth.FETCHING: "fetching",
    Truth.FETCHED: "fetched",
    Truth.COULD_NOT: "could not look",
    Truth.NOBODY_LOOKED: "nobody looks",
    Truth.PAUSED: "paused",
    Truth.NOT_YET: "not looked at yet",
    Truth.LISTENING: "ready for calls",
}


@app.command("add")
def add(
    project: Project,
    source: Source,
    kind: Annotated[str, typer.Option(help="maildir, imap, pop3, s3 or webhook.")],
    settings: Setting = [],  # noqa: B006  # typer reads the default and never changes it
    credentials: Credentials = [],  # noqa: B006
    shop: Annotated[str, typer.Option(help="The shop whose mails these are; empty = the mails say so.")] = "",
    site: Annotated[str, typer.Option(help="The booking site that writes them; empty = the mails say so.")] = "",
    poll_seconds: Annotated[float, typer.Option(help="At most so long between two looks.")] = 60.0,
) -> None:
    """Name a source; it is looked at within seconds. A webhook's address is made and printed."""
    from todoku.sources.kinds import require_settings
    from todoku.sources.registry import WEBHOOK
    from todoku.sources.webhook.book import new_token

    given = _settings(settings)
    if kind == WEBHOOK and "token" not in given:
        given["token"] = new_token()
    entry = SourceEntry(
        project_id=project,
        source=source,
        kind=kind,
        settings=given,
        credential_ids=tuple(credentials),
        shop_code=shop or None,
        site=site or None,
        poll_seconds=poll_seconds,
    )
    require_settings(entry)
    require_project(project)
    with_bus(lambda _, bus: SourceBook(bus).add(entry))
    if kind == WEBHOOK:
        address = f"{load_settings().public_url}/inbound/{given['provider']}/{given['token']}"
        print(f"Let the provider call {address}")
        return
    print(f"{source} is looked at from now on: todoku source list -p {project}")


@app.command("set")
def change(
    project: Project,
    source: Source,
    settings: Setting = [],  # noqa: B006
    credentials: Credentials = [],  # noqa: B006
) -> None:
    """Change settings or the order of credentials; what is not named stays."""
    from todoku.sources.kinds import require_settings

    async def call(_: Settings, bus: Bus) -> None:
        book = SourceBook(bus)
        before = await book.get(project, source)
        entry = msgspec.structs.replace(
            before,
            settings={**before.settings, **_settings(settings)},
            credential_ids=tuple(credentials) or before.credential_ids,
        )
        require_settings(entry)
        await book.change(entry)

    with_bus(call)
    print(f"{source} is changed.")


@app.command("pause")
def pause(project: Project, source: Source) -> None:
    """Look no more until `resume`; mails stay where they are and are fetched then."""
    _set_paused(project, source, paused=True)
    print(f"{source} is paused; its mails stay where they are.")


@app.command("resume")
def resume(project: Project, source: Source) -> None:
    """Go on where it was: everything that has not arrived is fetched."""
    _set_paused(project, source, paused=False)
    print(f"{source} is looked at again.")


@app.command("remove")
def remove(project: Project, source: Source) -> None:
    """Forget a source; mails that arrived from it stay in the book."""
    with_bus(lambda _, bus: SourceBook(bus).remove(project, source))
    print(f"{source} is forgotten; what arrived from it stays.")


@app.command("list")
def list_all(project: Project, as_json: AsJson = False) -> None:
    """List the sources, and say of each what is true of it now."""

    async def call(_: Settings, bus: Bus) -> tuple[list[SourceEntry], dict[str, Standing]]:
        return await SourceBook(bus).list(project), await read_standings(bus, project)

    entries, standings = with_bus(call)
    documents = [_document(entry, standings.get(entry.source)) for entry in entries]
    if as_json:
        print(json.dumps(documents, ensure_ascii=False))
        return
    if not documents:
        print("There is no source yet: todoku source add --help")
        return
    rows = [[str(one[name] or "") for name in ("source", "kind", "truth", "why", "mail_at")] for one in documents]
    table(("source", "kind", "now", "why", "last mail"), rows)


@app.command("test")
def test(project: Project, source: Source) -> None:
    """Log in and list now, with every credential in turn, and say each step; nothing is fetched."""
    from todoku.config.collectors import open_inventory
    from todoku.credentials.trial import try_source

    async def call(settings: Settings, bus: Bus) -> bool:
        entry = await SourceBook(bus).get(project, source)
        fine = True
        async for step in try_source(entry, open_inventory(settings, bus, SystemClock()), SystemClock()):
            print(("ok    " if step.fine else "FAIL  ") + step.words)
            fine = fine and step.fine
        return fine

    if not with_bus(call):
        raise typer.Exit(1)


def _set_paused(project: str, source: str, *, paused: bool) -> None:
    async def call(_: Settings, bus: Bus) -> None:
        book = SourceBook(bus)
        await book.change(msgspec.structs.replace(await book.get(project, source), paused=paused))

    with_bus(call)


def _settings(pairs: list[str]) -> dict[str, str | int | float | bool]:
    odd = [pair for pair in pairs if "=" not in pair]
    if odd:
        raise typer.BadParameter(f"{odd[0]!r} must be NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _document(entry: SourceEntry, standing: Standing | None) -> dict[str, Any]:
    look = standing.look if standing is not None else None
    truth = truth_of(entry, standing, SystemClock().now_utc())
    return {
        "source": entry.source,
        "kind": entry.kind,
        "truth": _WORDS[truth],
        "why": look.why if look is not None and truth is not Truth.FETCHED else "",
        "since": _iso(standing.since_utc if standing is not None else None),
        "listed": look.listed if look is not None else None,
        "fresh": standing.fresh if standing is not None else 0,
        "done": standing.done if standing is not None else 0,
        "fetched_at": _iso(standing.fetched_at_utc if standing is not None else None),
        "mail_at": _iso(standing.mail_at_utc if standing is not None else None),
        "outages": [msgspec.to_builtins(one) for one in (standing.outages if standing is not None else ())],
        "failed": [list(one) for one in look.failed] if look is not None else [],
        "credentials": list(entry.credential_ids),
        "shop": entry.shop_code,
        "site": entry.site,
    }


def _iso(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None
