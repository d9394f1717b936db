"""`todoku extract FILE...`: say what notification mails state."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todoku.mail.errors import Unreadable

if TYPE_CHECKING:
    from rich.console import Console


def extract(
    files: Annotated[list[Path], typer.Argument(help="Mails as files (.eml); - reads one from standard input.")],
    as_json_: Annotated[bool, typer.Option("--json", help="One JSON object a mail, in order.")] = False,
) -> None:
    """Read notification mails and print what each one says; nothing is stored.

    Exit code 1 when a file could not be opened or is no mail; the others are printed all the same.
    """
    from rich.console import Console

    console = Console()
    failed = False
    for file in files:
        try:
            document = _read_file(file)
        except OSError as error:
            failed = True
            document = {"file": str(file), "error": f"can't be opened: {error.strerror}"}
        except Unreadable as error:
            failed = True
            document = {"file": str(file), "error": str(error)}
        if as_json_:
            print(json.dumps(document, ensure_ascii=False))
        else:
            _show(console, document)
    if failed:
        raise typer.Exit(1)


def _read_file(file: Path) -> dict[str, Any]:
    from todoku.extraction import as_json, read_mail

    if str(file) == "-":
        raw, modified = sys.stdin.buffer.read(), datetime.now(UTC)
    else:
        raw, modified = file.read_bytes(), datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return as_json(str(file), read_mail(raw, received_at=modified))


def _show(console: Console, document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=document["file"], title_justify="left", show_header=False, box=None)
    for key, value in document.items():
        if key != "file" and value is not None:
            table.add_row(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    console.print(table)
