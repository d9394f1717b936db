"""`todoku dkim ...`: keys that sign what leaves, and what DNS must say about them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from todoku.config.settings import load_settings
from todoku.delivery.signing import KeyFolder, StoredKey
from todoku.kernel.clock import SystemClock
from todoku.mail.dkim import KeyKind, new_key

app = typer.Typer(no_args_is_help=True, help="Make and list DKIM keys, and show their DNS records.")

Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain of the From address.")]
Selector = Annotated[str, typer.Argument(metavar="SELECTOR", help="The key's name below the domain.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("new")
def new(
    domain: Domain,
    selector: Annotated[str, typer.Option(help="The key's name; empty = from kind and month.")] = "",
    kind: Annotated[
        KeyKind, typer.Option(help="Every receiver knows RSA; sign with Ed25519 beside it.")
    ] = KeyKind.RSA2048,
    use_at_once: Annotated[bool, typer.Option("--use", help="Sign from now on; DNS has the record already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key and print the TXT record for DNS; it signs only after `todoku dkim use`."""
    folder = _folder()
    month = SystemClock().now_utc().strftime("%Y%m")
    key = new_key(domain.lower(), selector or f"{kind.value[0]}{month}", kind)
    path = folder.add(key, in_use=use_at_once)
    _show(StoredKey(key, use_at_once, path), as_json=as_json)
    if not use_at_once and not as_json:
        print(f"\nWhen DNS answers with it: todoku dkim use {key.domain} {key.selector}")


@app.command("use")
def use(domain: Domain, selector: Selector) -> None:
    """Sign with this key from now on; running senders follow within seconds."""
    _folder().use(domain, selector, in_use=True)
    print(f"Mail from {domain} is signed with {selector}.")


@app.command("stop")
def stop(domain: Domain, selector: Selector) -> None:
    """Sign no longer with this key; leave its record in DNS until the last mail has arrived, a week."""
    _folder().use(domain, selector, in_use=False)
    print(f"Mail from {domain} is no longer signed with {selector}. Leave its DNS record for a week.")


@app.command("show")
def show(domain: Domain, selector: Selector, as_json: AsJson = False) -> None:
    """Print one key's DNS record again; never the key."""
    _show(_folder().find(domain, selector), as_json=as_json)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the keys of every domain."""
    keys = list(_folder().stored())
    if as_json:
        print(json.dumps([_as_json(stored) for stored in keys]))
        return
    for stored in keys:
        state = "signs" if stored.in_use else "waits"
        print(f"{stored.key.domain}  {stored.key.selector}  {stored.key.algorithm}  {state}")
    if not keys:
        print("There is no key yet: todoku dkim new shop.example")


def _folder() -> KeyFolder:
    return KeyFolder(load_settings().home / "dkim", SystemClock())


def _show(stored: StoredKey, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(stored)))
        return
    print(f"Key      {stored.path}  ({stored.key.algorithm}, {'signs' if stored.in_use else 'waits'})")
    print(f"Name     {stored.key.record_name}")
    print(f"TXT      {stored.key.record()}")
    print(f"Zone     {stored.key.zone_line()}")


def _as_json(stored: StoredKey) -> dict[str, Any]:
    key = stored.key
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "in_use": stored.in_use,
        "path": str(stored.path),
        "record_name": key.record_name,
        "record": key.record(),
        "zone_line": key.zone_line(),
    }
