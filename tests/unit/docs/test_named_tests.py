"""Every test that a page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PAGES = [page for page in sorted(ROOT.glob("docs/**/*.md")) if _NAMED.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_each_named_test_exists(page: Path) -> None:
    missing = []
    for path, name in _NAMED.findall(page.read_text(encoding="utf-8")):
        file = ROOT / path
        if not file.exists() or not re.search(rf"def {name}\(", file.read_text(encoding="utf-8")):
            missing.append(f"{path}::{name}")
    assert missing == []


def test_the_page_about_peers_names_tests() -> None:
    assert "peers.md" in [page.name for page in PAGES]


def test_each_bad_input_on_the_page_of_sources_names_its_test() -> None:
    page = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    _, _, section = page.partition("\n## Bad input\n")
    rows = [row for row in section.partition("\n## ")[0].splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 15
    assert [row for row in rows if not _NAMED.search(row)] == []
