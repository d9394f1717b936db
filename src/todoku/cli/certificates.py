"""`todoku certificate ...`: certificates that our own doors show. They are the installation's, and no project's."""

from __future__ import annotations

from typing import Annotated

import typer

from todoku.bus.connection import Bus
from todoku.cli.bus_calls import with_bus
from todoku.cli.campaign_base import AsJson
from todoku.cli.inventory_base import CLOCK, Name, Public, Secret, read_secrets, settings_of, show_installation
from todoku.config.collectors import open_inventory
from todoku.config.settings import Settings
from todoku.credentials.errors import CredentialExists
from todoku.credentials.hooks import require_renewal
from todoku.credentials.installation import installation_rows
from todoku.credentials.proof import require_servable
from todoku.credentials.sightings import SightingBook
from todoku.credentials.types import INSTALLATION
from todoku.sources.credentials import CredentialKind

app = typer.Typer(no_args_is_help=True, help="Certificates that our doors show, and what else the installation shows.")


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
