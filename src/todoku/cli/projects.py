"""`todoku project ...`: tenants, their shops, the people who work there, the addresses at which their mail arrives.

Rooms with tables are imported inside the commands: Django has to be awake before.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import timedelta
from typing import Annotated

import typer

from todoku.cli import keys
from todoku.config.django_setup import set_up_django
from todoku.config.settings import load_settings
from todoku.kernel.clock import SystemClock
from todoku.kernel.errors import ConfigurationError
from todoku.projects.types import ProjectInfo, Role, ShopInfo
from todoku.sources.routes import local_part_of

app = typer.Typer(no_args_is_help=True, help="Make and list projects, shops, members and intake addresses.")


@app.callback()
def wake_up() -> None:
    """Make and list projects, shops, members and intake addresses; the database must be running."""
    set_up_django()


ProjectId = Annotated[str, typer.Argument(metavar="PROJECT", help="Its short name: a-z 0-9 _ -")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("create")
def create(
    project: ProjectId,
    name: Annotated[str, typer.Option(help="What people call it.")],
    time_zone: Annotated[str, typer.Option(help="Where its shops are.")] = "Asia/Tokyo",
    sender_name: Annotated[str, typer.Option(help="Who its campaigns are from.")] = "",
    sender_address: Annotated[str, typer.Option(help="The From address of its campaigns.")] = "",
    postal_address: Annotated[str, typer.Option(help="The law wants it in every campaign.")] = "",
    contact: Annotated[str, typer.Option(help="Where a guest may complain: telephone, address or page.")] = "",
    requires_approval: Annotated[
        bool, typer.Option(help="A campaign leaves only after a second person has approved it.")
    ] = False,
) -> None:
    """Make a project, or change what is known of it; doing it again changes nothing."""
    from todoku.projects import services

    sender = sender_name or name
    info = ProjectInfo(project, name, time_zone, sender, sender_address, postal_address, contact, requires_approval)
    try:
        services.save_project(info, clock=SystemClock())
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    print(f"The project {project} is there. Next: todoku project shop, todoku project member")


@app.command("shop")
def shop(
    project: ProjectId,
    code: Annotated[str, typer.Argument(help="Your own short name of the shop.")],
    name: Annotated[str, typer.Argument(help="What people call it.")],
    also: Annotated[list[str] | None, typer.Option(help="How a booking site writes its name or code.")] = None,
) -> None:
    """Add a shop, or change it; booking sites write its name in their own ways, which --also lists."""
    from todoku.projects import queries, services

    known = [one for one in queries.list_shops(queries.get_project(project).id) if one.code != code]
    services.save_shops(project, [*known, ShopInfo(code, name, (name, *(also or [])))])
    print(f"The shop {code} is there. Next: todoku project address {project} --shop {code} --site tabelog")


@app.command("member")
def member(
    project: ProjectId,
    email: Annotated[str, typer.Argument(help="With which the person signs in.")],
    name: Annotated[str, typer.Argument(help="As colleagues know the person.")],
    role: Annotated[Role, typer.Argument(help="What the person may do.")],
    new_password: Annotated[
        bool, typer.Option("--new-password", help="Replace the password of a known person.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a person work in the project; a new person's first password is printed once."""
    from todoku.projects import queries, services

    fresh = new_password or not queries.is_known_person(email)
    password = secrets.token_urlsafe(9) if fresh else None
    services.save_member(queries.get_project(project).id, email=email, display_name=name, role=role, password=password)
    if as_json:
        print(json.dumps({"email": email, "role": role.value, "password": password}))
    else:
        print(f"{name} may sign in as {email}" + (f" with the password {password}" if password else ""))


@app.command("address")
def address(
    project: ProjectId,
    site: Annotated[str, typer.Option(help="The booking site that will send to it; empty = any.")] = "",
    shop_code: Annotated[str, typer.Option("--shop", help="The shop that it is for; empty = any.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the unguessable address of one shop and site, made if need be; mail may come at once."""
    from todoku.config.addresses import publish_now
    from todoku.projects import queries, services

    made = services.create_intake_address(
        queries.get_project(project).id, shop_code=shop_code or None, site=site or None, clock=SystemClock()
    )
    settings = load_settings()
    asyncio.run(publish_now(settings))
    text = f"{made.local_part}@{settings.mail_domain}"
    print(json.dumps({"address": text}) if as_json else text)


@app.command("rotate-address")
def rotate_address(
    project: ProjectId,
    old: Annotated[str, typer.Argument(metavar="ADDRESS", help="The one to replace.")],
    overlap_days: Annotated[int, typer.Option(min=0, max=3650, help="So long the old one is accepted.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Give a shop and site a new address; mail to the old one is read for the overlap, then kept and quarantined."""
    from todoku.config.addresses import publish_now
    from todoku.projects import services

    made = services.rotate_intake_address(
        project, local_part_of(old), clock=SystemClock(), overlap=timedelta(days=overlap_days)
    )
    settings = load_settings()
    asyncio.run(publish_now(settings))
    text, until = f"{made.new.local_part}@{settings.mail_domain}", made.old.accepted_until_utc
    shown = until.isoformat() if until is not None else None
    print(json.dumps({"address": text, "old_accepted_until": shown}) if as_json else f"{text}\nThe old: until {shown}")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the projects with their shops, members and addresses."""
    from todoku.projects import queries

    domain = load_settings().mail_domain
    document = [
        {
            "project": project_id,
            "name": queries.get_project(project_id).name,
            "shops": [{"code": one.code, "name": one.name} for one in queries.list_shops(project_id)],
            "members": [{"email": one.email, "role": one.role.value} for one in queries.list_members(project_id)],
            "addresses": [
                {
                    "address": f"{one.local_part}@{domain}",
                    "shop": one.shop_code,
                    "site": one.site,
                    "accepted_until": one.accepted_until_utc.isoformat() if one.accepted_until_utc else None,
                }
                for one in queries.list_intake_addresses(project_id, with_replaced=True)
            ],
        }
        for project_id in queries.list_project_ids()
    ]
    print(json.dumps(document, ensure_ascii=False, indent=None if as_json else 2))


keys.add_to(app)
