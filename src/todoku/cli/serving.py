"""`todoku serve`, `todoku run ROLE...`, `todoku migrate`: the installation at work."""

from __future__ import annotations

from typing import Annotated

import typer

from todoku.config.logging import set_up_logging
from todoku.config.settings import load_settings


def serve() -> None:
    """Start the engines and all roles, and keep them alive until Ctrl-C or SIGTERM."""
    from todoku.config.installation import Installation

    set_up_logging()
    settings = load_settings()
    with Installation(settings) as installation:
        installation.start_roles()
        print(f"Pages   {settings.public_url}\nSMTP    {settings.smtp_listen}\nData    {settings.home}", flush=True)
        installation.wait()


def run(
    roles: Annotated[list[str], typer.Argument(help="intake, read, plan, send, book, web: one or several.")],
) -> None:
    """Play some roles in this process; the engines must be running (`todoku serve`, or external ones by URL)."""
    from todoku.config.roles import require_roles, run_roles

    set_up_logging()
    run_roles(require_roles(roles), load_settings())


def migrate() -> None:
    """Bring the database's tables to this version; harmless when they are there already."""
    from todoku.config.django_setup import migrate as bring_tables

    set_up_logging()
    bring_tables()
    print("The tables are up to date.")
