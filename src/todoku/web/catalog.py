"""The catalogs of both languages: gather, update, compile. For development: `python -m todoku.web.catalog`.

Needs Babel (in the `dev` extra) only; no gettext tools. English texts are the keys; `ja` and `en` are both complete.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

WEB = Path(__file__).resolve().parent
LANGUAGES = ("ja", "en")
KEYWORDS = {
    "_": None,
    "_t": None,
    "gettext": None,
    "gettext_lazy": None,
    "ngettext": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
}
_CALL = re.compile(r"\b(gettext|ngettext|pgettext|npgettext|_)\((.*?)\)(?=\s|$|X)", re.DOTALL)
_STRING = re.compile(r"""u?('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""")

Message = str | tuple[str, ...]


def gather() -> Catalog:
    """Return every text of templates and Python files, without translations."""
    found = Catalog(charset="utf-8")
    for path in sorted(WEB.rglob("*.html")):
        for text, context in _texts_of_template(path):
            found.add(text, locations=[(_place(path), 0)], context=context)
    for path in sorted(WEB.rglob("*.py")):
        with path.open("rb") as file:
            for _line, text, _comments, context in extract("python", file, keywords=KEYWORDS):
                found.add(text, locations=[(_place(path), 0)], context=context)
    return found


def load(language: str) -> Catalog:
    """Return a language's catalog as it is kept."""
    path = po_path(language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalog: Catalog) -> bytes:
    """Return the catalog in the form that gettext reads."""
    buffer = BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    """Return the texts without a full translation, and those marked fuzzy."""
    return [str(message.id) for message in catalog if message.id and (message.fuzzy or not _whole(message.string))]


def update(language: str) -> None:
    """Bring a language's file up to date with the texts; English translates to itself."""
    catalog, template = load(language), gather()
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.revision_date = datetime(2026, 1, 1, tzinfo=UTC)  # fixed: the file changes only when its texts do
    catalog.creation_date = catalog.revision_date
    catalog.project, catalog.version, catalog.fuzzy = "Todoku", "", False
    for message in catalog:
        if language == "en" and message.id:
            message.string = message.id
    po_path(language).parent.mkdir(parents=True, exist_ok=True)
    with po_path(language).open("wb") as file:
        write_po(file, catalog, width=100, no_location=False, omit_header=False, sort_output=True)
    po_path(language).with_suffix(".mo").write_bytes(compiled(load(language)))


def po_path(language: str) -> Path:
    """Return where a language's texts are kept; the compiled ones are beside it."""
    return WEB / "locale" / language / "LC_MESSAGES" / "django.po"


def main() -> int:
    """Update and compile both languages; returns 1 when something is not translated."""
    missing = 0
    for language in LANGUAGES:
        update(language)
        for text in untranslated(load(language)):
            sys.stdout.write(f"{language}: not translated: {text}\n")
            missing = 1
    return missing


def _texts_of_template(path: Path) -> Iterator[tuple[Message, str | None]]:
    """Yield the texts of one template; Django's own reader turns it into calls, which are read here."""
    for call in _CALL.finditer(templatize(path.read_text(encoding="utf-8"), origin=str(path))):
        strings = [ast.literal_eval(one) for one in _STRING.findall(call[2])]
        match call[1], strings:
            case ("ngettext", [one, many, *_rest]):
                yield (one, many), None
            case ("pgettext", [context, text, *_rest]):
                yield text, context
            case (_, [text, *_rest]):
                yield text, None


def _whole(translated: str | list[str] | tuple[str, ...] | None) -> bool:
    return bool(translated) if isinstance(translated, str) or not translated else all(translated)


def _place(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


if __name__ == "__main__":
    sys.exit(main())
