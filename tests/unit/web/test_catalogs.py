"""Both languages are complete, and what is compiled is what is written."""

from __future__ import annotations

import pytest

from todoku.web import catalog

pytestmark = pytest.mark.parametrize("language", catalog.LANGUAGES)


def test_nothing_is_untranslated(language: str) -> None:
    assert catalog.untranslated(catalog.load(language)) == []


def test_the_compiled_catalog_is_the_written_one(language: str) -> None:
    kept = catalog.po_path(language).with_suffix(".mo").read_bytes()
    assert kept == catalog.compiled(catalog.load(language)), "run: python -m todoku.web.catalog"


def test_every_placeholder_survives_translation(language: str) -> None:
    import re

    holder = re.compile(r"%\((\w+)\)[sd]")
    for message in catalog.load(language):
        if not message.id:
            continue
        texts = [message.id] if isinstance(message.id, str) else list(message.id)
        wanted = {name for text in texts for name in holder.findall(text)}
        for text in [message.string] if isinstance(message.string, str) else message.string or []:
            assert set(holder.findall(text)) == wanted, message.id
