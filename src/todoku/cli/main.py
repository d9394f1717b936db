"""The command `todoku`: one module of this room for each word that follows it."""

from __future__ import annotations

import logging
import sys

import typer

from todoku import __version__
from todoku.cli import (
    campaigns,
    certificates,
    credentials,
    demo,
    dkim,
    doctor,
    extract,
    importing,
    ledger,
    projects,
    replaying,
    serving,
    sources,
)
from todoku.config.logging import set_up_logging
from todoku.kernel.errors import ConfigurationError, TodokuError

app = typer.Typer(
    name="todoku",
    help="Booking mail in, campaigns out, and the books balance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("serve")(serving.serve)
app.command("run")(serving.run)
app.command("migrate")(serving.migrate)
app.command("extract")(extract.extract)
app.command("import")(importing.import_mail)
app.command("replay")(replaying.replay)
app.command("doctor")(doctor.doctor)
app.add_typer(projects.app, name="project")
app.add_typer(campaigns.app, name="campaign")
app.add_typer(dkim.app, name="dkim")
app.add_typer(sources.app, name="source")
app.add_typer(credentials.app, name="credential")
app.add_typer(certificates.app, name="certificate")
app.add_typer(ledger.app, name="ledger")


@app.command("version")
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command; an error of ours becomes a sentence and an exit code, never a traceback."""
    set_up_logging(level=logging.WARNING)  # `serve` and `run` say more, into their logs
    try:
        app()
    except ConfigurationError as error:
        _say(f"A setting is wrong: {error}")
        sys.exit(2)
    except TodokuError as error:
        _say(str(error))
        sys.exit(1)


def _say(sentence: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, style="red", markup=False)


if __name__ == "__main__":
    main()
