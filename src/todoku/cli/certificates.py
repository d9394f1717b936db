"""`todoku certificate ...`: certificates that our own doors show. They are the installation's, and no project's."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from todoku.bus.connection import Bus
from todoku.cli.bus_calls import with_bus
from todoku.cli.campaign_base import AsJson, table
from todoku.cli.credentials import Name, Public, Secret, read_secrets, settings_of, shown_moment
from todoku.config.collectors import open_inventory
from todoku.config.settings import Settings
from todoku.credentials.errors import CredentialExists
from todoku.credentials.hooks import require_renewal
from todoku.credentials.installation import installation_rows
from todoku.credentials.proof import require_servable
from todoku.credentials.served_types import ServedKind, ServedRow
from todoku.credentials.sightings import SightingBook
from todoku.credentials.types import INSTALLATION
from todoku.kernel.clock import SystemClock
from todoku.sources.credentials import CredentialKind

app = typer.Typer(no_args_is_help=True, help="Certificates that our doors show, and what else the installation shows.")

CLOCK = SystemClock()


@app.command("order")
def order(
    name: Name,
    directory: Annotated[str, typer.Option(help="The authority's ACME directory, https://…")],
    domain: Annotated[list[str], typer.Option(help="A host name to be in it; may be given again.")],
    contact: Annotated[str, typer.Option(help="A mail address that the authority may write to.")],
    agree_terms: Annotated[bool, typer.Option("--agree-terms", help="Agree to the authority's terms.")] = False,
    ca: Annotated[str, typer.Option(help="A PEM file that a private authority's directory is believed by.")] = "",
) -> None:
    """Let an authority give a certificate, now and at two thirds of each one's life (ACME, HTTP-01)."""
    renewal = {
        "by": "acme",
        "directory": directory,
        "domains": " ".join(domain),
        "contact": contact,
        "terms": "agreed" if agree_terms else "no",
        **({"ca": ca} if ca else {}),
    }

    async def call(settings: Settings, bus: Bus) -> None:
        book = open_inventory(settings, bus, CLOCK)
        try:
            await book.add(INSTALLATION, name, CredentialKind.TLS_CERTIFICATE, {})
        except CredentialExists:
            pass  # then only the way of renewing it changes
        await book.renew_by(INSTALLATION, name, renewal)

    require_renewal(renewal)
    with_bus(call)
    print(f"{name} is ordered by the role intake within half a minute: todoku certificate list")
    print(f"Let port 80 of {', '.join(domain)} lead to the pages, and set TODOKU_SMTP_CERTIFICATE=credential:{name}")


@app.command("add")
def add(name: Name, secret: Secret = []) -> None:  # noqa: B006  # typer reads the default and never changes it
    """Keep a certificate of your own: --secret certificate_pem=FILE --secret key_pem=FILE; none = it is to be had."""
    secrets = read_secrets([], secret)
    if secrets.get("certificate_pem"):
        require_servable(secrets, [])
    with_bus(
        lambda settings, bus: open_inventory(settings, bus, CLOCK).add(
            INSTALLATION, name, CredentialKind.TLS_CERTIFICATE, secrets
        )
    )
    print(f"{name} is kept. Let a door show it: TODOKU_SMTP_CERTIFICATE=credential:{name}")


@app.command("replace")
def replace(name: Name, secret: Secret) -> None:
    """Put a newer certificate in its place; doors show it within half a minute."""
    secrets = read_secrets([], secret)
    require_servable({"certificate_pem": "", "key_pem": "", **secrets}, [])
    with_bus(lambda settings, bus: open_inventory(settings, bus, CLOCK).install(INSTALLATION, name, secrets))
    print(f"{name} is replaced; doors show the new one within half a minute.")


@app.command("renew-by")
def renew_by(
    name: Name,
    hook: Annotated[str, typer.Argument(metavar="HOOK", help="acme, command, file, http, or hand.")],
    public: Public = [],  # noqa: B006
    secret: Secret = [],  # noqa: B006
) -> None:
    """Set how a newer one is had; see docs/sources.md for each hook's settings."""
    renewal = settings_of(hook, public)
    extra = read_secrets([], secret)

    async def call(settings: Settings, bus: Bus) -> None:
        book = open_inventory(settings, bus, CLOCK)
        if extra:
            await book.add_secrets(INSTALLATION, name, extra)
        await book.renew_by(INSTALLATION, name, renewal)

    with_bus(call)
    print(f"{name} is renewed by {hook} from now on.")


@app.command("remove")
def remove(name: Name) -> None:
    """Forget a certificate; the file that a door shows stays until its settings change."""
    with_bus(lambda settings, bus: open_inventory(settings, bus, CLOCK).remove(INSTALLATION, name))
    print(f"{name} is forgotten.")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List what the installation shows: certificates and DKIM keys, on whatever machine, and who has gone silent."""
    show_installation(as_json=as_json)


@app.command("ask-dns")
def ask_dns(as_json: AsJson = False) -> None:
    """Ask DNS for the record of every DKIM key, and keep what it answers."""
    from todoku.credentials.dns_asking import ask_for_keys

    async def call(settings: Settings, bus: Bus) -> None:
        sightings = SightingBook(bus, CLOCK)
        rows = await installation_rows(open_inventory(settings, bus, CLOCK), sightings, CLOCK)
        await ask_for_keys(rows, sightings, CLOCK)

    with_bus(call)
    show_installation(as_json=as_json, keys_only=True)


def show_installation(*, as_json: bool, keys_only: bool = False) -> None:
    """Print the installation's rows."""
    rows = with_bus(
        lambda settings, bus: installation_rows(open_inventory(settings, bus, CLOCK), SightingBook(bus, CLOCK), CLOCK)
    )
    documents = [_document(row) for row in rows if row.kind is ServedKind.DKIM_KEY or not keys_only]
    if as_json:
        print(json.dumps(documents, ensure_ascii=False))
        return
    if not documents:
        print("No door shows a certificate, and nothing is signed: todoku certificate order --help, todoku dkim new")
        return
    names = ("name", "kind", "machine", "condition", "ends", "used_at", "dns", "why")
    shown = [[str(one[key] or "") for key in names] for one in documents]
    table(("name", "kind", "machine", "condition", "ends", "last use", "DNS", "why"), shown)


def _document(row: ServedRow) -> dict[str, Any]:
    notes = row.notes
    return {
        "name": row.name,
        "kind": row.kind.value,
        "place": row.place.value,
        "machine": row.machine,
        "condition": row.condition.value,
        "issuer": row.facts.issuer,
        "begins": shown_moment(row.facts.not_before_utc),
        "ends": shown_moment(row.facts.not_after_utc),
        "life_left": round(row.life_left, 3) if row.life_left is not None else None,
        "fingerprint": row.facts.fingerprint,
        "in_use": row.in_use,
        "since": shown_moment(row.since_utc),
        "used_at": shown_moment(notes.used_at_utc),
        "seen_at": shown_moment(row.seen_at_utc),
        "renewed_by": row.renewed_by,
        "renewal_at": shown_moment(notes.renewal_at_utc),
        "why": notes.renewal_why,
        "credential": row.credential_id,
        "shown_by": row.shown_by,
        "dns": row.dns.finding.value if row.dns is not None else None,
        "dns_asked_at": shown_moment(row.dns.asked_at_utc) if row.dns is not None else None,
        "record": row.record,
    }
