"""Every sample mail is read to the answer that its story wrote down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import todoku.extraction
from todoku.extraction import as_json, read_mail, sample_mails, sites

SITES = Path(todoku.extraction.__file__).parent / "sites"
SAMPLES = list(sample_mails())
RECEIVED = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(("folder", "name", "raw"), SAMPLES, ids=[name for _, name, _ in SAMPLES])
def test_a_sample_is_read_to_its_answer(folder: str, name: str, raw: bytes) -> None:
    expected = json.loads((SITES / folder / "expected" / name.replace(".eml", ".json")).read_text(encoding="utf-8"))
    assert as_json(name, read_mail(raw, received_at=RECEIVED)) == expected


def test_the_samples_are_a_story_of_many_mails_in_order() -> None:
    names = [name for _, name, _ in SAMPLES]
    assert len(names) >= 72
    assert names == sorted(names)
    assert {folder for folder, _, _ in SAMPLES} == {site.id for site in sites()} | {"none"}


def test_every_answer_belongs_to_a_sample() -> None:
    answers = {path.stem for path in SITES.glob("*/expected/*.json")}
    assert answers == {name.removesuffix(".eml") for _, name, _ in SAMPLES}
