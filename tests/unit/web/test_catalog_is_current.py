"""The catalogs hold exactly the texts of templates and code."""

from __future__ import annotations

from babel.messages.catalog import Catalog

from todoku.web import catalog


def _keys(found: Catalog) -> set[tuple[object, str | None]]:
    return {(message.id, message.context) for message in found if message.id}


def test_catalogs_hold_exactly_the_texts_in_use() -> None:
    used = _keys(catalog.gather())
    assert len(used) > 300
    for language in catalog.LANGUAGES:
        assert _keys(catalog.load(language)) == used, "run: python -m todoku.web.catalog"
