"""What `todoku credential` and `todoku certificate` share: options, reading secrets, showing rows."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from todoku.cli.bus_calls import with_bus
from todoku.cli.campaign_base import table
from todoku.config.collectors import open_inventory
from todoku.credentials.errors import BadCredential
from todoku.credentials.installation import installation_rows
from todoku.credentials.served_types import ServedKind, ServedRow
from todoku.credentials.sightings import SightingBook
from todoku.kernel.clock import SystemClock

CLOCK = SystemClock()

Name = Annotated[str, typer.Argument(metavar="CREDENTIAL", help="Its short name, such as imap-ginza-2026.")]
Public = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="What is no secret: username=…")]
Secret = Annotated[
    list[str], typer.Option("--secret", metavar="NAME=FILE", help="A secret, from a file; - = standard input.")
]


def settings_of(hook: str, public: list[str]) -> dict[str, str]:
    """Return how a hook is kept, {} = by hand."""
    return {} if hook == "hand" else {"by": hook, **read_secrets(public, [])}


def read_secrets(public: list[str], secret: list[str]) -> dict[str, str]:
    """Return values that were typed and those read from files; raises BadCredential, BadParameter."""
    values = {}
    for pair in [*public, *secret]:
        name, found, value = pair.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"{pair!r} must be NAME=VALUE")
        values[name] = value
    for pair in secret:
        name, _, file = pair.partition("=")
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadCredential(f"the secret {name} can't be read from {file}: {error}") from error
        values[name] = text if name.endswith("_pem") else text.rstrip("\r\n")
    return values


def shown_moment(moment: datetime | None) -> str | None:
    """Return a moment as JSON shows it."""
    return moment.isoformat(timespec="seconds") if moment is not None else None


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
