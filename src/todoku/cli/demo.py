"""`todoku demo`: a sample restaurant group to watch, or the main job once."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from todoku.config.settings import Listen, Settings, default_home, load_settings

SINK_PORT = 8026


def demo(
    once: Annotated[bool, typer.Option("--once", help="Do the main job once without pages, then end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (with --once: the report).")] = False,
    evening: Annotated[bool, typer.Option(help="Let a fresh booking mail arrive every few seconds.")] = True,
) -> None:
    """Start everything with a sample restaurant group of three shops; Ctrl-C ends it and leaves no process.

    Data lies in TODOKU_HOME, or in a home of the demo's own; the next start goes on from there. Nobody real is mailed:
    campaigns leave into a built-in outbox.
    """
    settings = load_settings()
    if "TODOKU_HOME" not in os.environ:
        settings = replace(settings, home=default_home().with_name(default_home().name + "-demo"))
    os.environ["TODOKU_HOME"] = str(settings.home)
    if once:
        _once(settings, as_json=as_json)
    else:
        _watch(_with_free_ports(settings), as_json=as_json, evening=evening)


def _once(settings: Settings, *, as_json: bool) -> None:
    from todoku.config.installation import Installation
    from todoku.config.main_job import run_main_job

    with Installation(settings):
        report = uvloop.run(run_main_job(settings))
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _print_report(report)
    if not report["balanced"]:
        raise typer.Exit(1)


def _print_report(report: dict[str, Any]) -> None:
    mails, campaign = dict(report["mails"]), dict(report["campaign"])
    arrived, planned = mails.pop("arrived"), campaign.pop("planned")
    print(f"Mails in      {arrived} arrived = " + " + ".join(f"{count} {state}" for state, count in mails.items()))
    print(f"Book          {report['reservations']} reservations, {report['guests']} guests")
    print(f"Messages out  {planned} planned = " + " + ".join(f"{count} {state}" for state, count in campaign.items()))
    print(f"At the sink   {report['at_sink']}, doubled {report['doubled']}")
    print("Both balances close." if report["balanced"] else "A balance does not close.")


def _with_free_ports(settings: Settings) -> Settings:
    from todoku.config.installation import first_free

    web = first_free(settings.web_listen)
    public_url = settings.public_url if "TODOKU_PUBLIC_URL" in os.environ else f"http://{web}"
    sink = first_free(Listen("127.0.0.1", SINK_PORT))
    return replace(
        settings,
        web_listen=web,
        smtp_listen=first_free(settings.smtp_listen),
        public_url=public_url,
        relay_url=f"smtp://{sink}",
        demo=True,
    )


def _watch(settings: Settings, *, as_json: bool, evening: bool) -> None:
    from todoku.config.installation import Installation

    os.environ.update(settings.environment())
    try:
        with Installation(settings) as installation:
            sink = settings.relay_url.removeprefix("smtp://").rpartition(":")
            installation.add_process(
                "sink", [sys.executable, "-m", "todoku.demo.sink", str(settings.home / "sink"), sink[0], sink[2]]
            )
            password = _password(settings) or _tell_story(settings)
            installation.start_roles()
            installation.wait_until_ready()
            _say_ready(settings, password, as_json=as_json)
            uvloop.run(_play(settings, evening=evening))
    except KeyboardInterrupt:
        print("Ended; no process is left. The next start goes on from here.", file=sys.stderr)


def _password(settings: Settings) -> str:
    """Return the password of the group that lives in this home, "" when its story is not told yet."""
    path = _password_path(settings)
    return path.read_text(encoding="ascii") if path.exists() else ""


def _tell_story(settings: Settings) -> str:
    """Make the sample group and its password; a start that was killed on the way tells it again."""
    from todoku.config.django_setup import set_up_django
    from todoku.kernel.clock import SystemClock

    set_up_django()
    from todoku.config.addresses import publish_now
    from todoku.demo import story

    password = f"todoku-{secrets.token_hex(3)}"
    story.tell(password=password, clock=SystemClock())
    asyncio.run(publish_now(settings))
    path = _password_path(settings)
    path.touch(mode=0o600)
    path.write_text(password, encoding="ascii")
    return password


def _password_path(settings: Settings) -> Path:
    return settings.home / "demo-password"


def _say_ready(settings: Settings, password: str, *, as_json: bool) -> None:
    from todoku.demo import group

    manager = group.STAFF[1][0]
    if as_json:
        ready = {
            "url": settings.public_url,
            "email": manager,
            "password": password,
            "smtp": str(settings.smtp_listen),
            "mail_domain": settings.mail_domain,
            "project": group.PROJECT_ID,
            "home": str(settings.home),
        }
        print(json.dumps(ready), flush=True)
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"\n[bold]Todoku[/bold] is ready: {group.PROJECT.name}, three shops, everybody invented.\n")
    for label, value in (
        ("Pages", settings.public_url),
        ("Login", f"{manager}   {password}"),
        ("SMTP", f"{settings.smtp_listen}   for example demo-ginza-tabelog@{settings.mail_domain}"),
        ("Data", str(settings.home)),
    ):
        console.print(f"  {label:8}{value}", soft_wrap=True, markup=False)
    others = ", ".join(email.partition("@")[0] for email, _name, _role in group.STAFF if email != manager)
    console.print(
        f"\n  The same password opens {others}@{manager.partition('@')[2]}. Ctrl-C ends everything.\n", soft_wrap=True
    )


async def _play(settings: Settings, *, evening: bool) -> None:
    from todoku.demo import group
    from todoku.demo.fresh_mail import FreshMails
    from todoku.demo.stream import play_evening, sample_letters, send_letters
    from todoku.kernel.clock import SystemClock

    clock = SystemClock()
    addresses = group.local_parts()
    door = settings.smtp_listen
    marker = settings.home / "run" / "samples-sent"
    if not await asyncio.to_thread(marker.exists):
        letters = sample_letters(addresses, group.SHOPS, settings.mail_domain, clock)
        await asyncio.to_thread(send_letters, door.host, door.port, letters)
        await asyncio.to_thread(marker.touch)
    if not evening:
        await asyncio.Event().wait()
    fresh = FreshMails(group.SHOPS, group.members(clock), seed=secrets.randbits(32))
    await play_evening(door.host, door.port, fresh=fresh, addresses=addresses, domain=settings.mail_domain, clock=clock)
