"""The design keeps its own promises: small, readable in both themes, nothing inline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from todoku import web

ROOM = Path(web.__file__).parent
CSS = (ROOM / "static" / "web" / "app.css").read_text(encoding="utf-8")
PAIRS = [
    ("ink", "paper"), ("ink", "sheet"), ("ink", "sunk"), ("ink", "mark"), ("ink", "indigo-tint"), ("ink", "red-tint"),
    ("ink", "green-tint"), ("ink", "amber-tint"), ("ink", "mark-on"), ("ink-2", "paper"),
    ("ink-2", "sheet"), ("ink-2", "sunk"),
    ("ink-3", "paper"), ("ink-3", "sheet"), ("indigo", "paper"), ("indigo", "sheet"), ("indigo", "indigo-tint"),
    ("red", "sheet"), ("red", "red-tint"), ("green", "sheet"), ("green", "green-tint"), ("amber", "sheet"),
    ("amber", "amber-tint"), ("on-indigo", "indigo"), ("sheet", "red"), ("ink-2", "indigo-tint"), ("ink-2", "mark"),
]  # fmt: skip


def _themes() -> dict[str, dict[str, str]]:
    light = CSS[CSS.index(":root {") : CSS.index("}", CSS.index(":root {"))]
    start = CSS.index(':root[data-theme="dark"]')
    dark = CSS[start : CSS.index("}", start)]
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
        for name, block in (("light", light), ("dark", dark))
    }


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back"), PAIRS)
def test_text_is_readable(theme: str, front: str, back: str) -> None:
    """WCAG 2.2 success criterion 1.4.3: 4.5 to 1."""
    colours = _themes()[theme]
    bright, dim = sorted((_luminance(colours[front]), _luminance(colours[back])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_the_automatic_dark_theme_is_the_dark_theme() -> None:
    start = CSS.index(':root[data-theme="auto"]')
    automatic = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", CSS[start : CSS.index("}", start)]))
    assert automatic == _themes()["dark"] | {key: value for key, value in automatic.items() if len(value) != 7}


def test_pages_stay_light() -> None:
    assert len(CSS.encode()) <= 30_000
    assert (ROOM / "static" / "web" / "app.js").stat().st_size <= 10_000


def test_nothing_is_inline() -> None:
    """The content security policy allows neither inline scripts nor inline styles."""
    for path in sorted((ROOM / "templates").rglob("*.html")):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=|hx-on|javascript:", source), path.name
