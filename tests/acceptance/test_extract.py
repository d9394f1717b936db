"""`todoku extract`: right on every sample, clear on everything else."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from tests.acceptance.conftest import Todoku

SITES = Path(str(resources.files("todoku.extraction") / "sites"))
PAIRS = sorted((mail, mail.parents[1] / "expected" / f"{mail.stem}.json") for mail in SITES.glob("*/samples/*.eml"))


def test_every_sample_has_its_expected_answer_and_gets_it(todoku: Todoku) -> None:
    assert len(PAIRS) >= 60
    printed = todoku.run("extract", "--json", *(str(mail) for mail, _expected in PAIRS))

    documents = [json.loads(line) for line in printed.splitlines()]
    assert [document.pop("file") for document in documents] == [str(mail) for mail, _expected in PAIRS]
    for document, (mail, expected) in zip(documents, PAIRS, strict=True):
        wanted = json.loads(expected.read_text(encoding="utf-8"))
        wanted.pop("file", None)
        assert document == wanted, mail.name


@pytest.mark.parametrize("content", [b"", b"\x00" * 500, b"\xff\xfe" * 300], ids=["empty", "nul", "rubbish"])
def test_rubbish_gets_a_sentence_and_the_next_mail_is_read(todoku: Todoku, tmp_path: Path, content: bytes) -> None:
    rubbish = tmp_path / "rubbish.eml"
    rubbish.write_bytes(content)
    printed = todoku.run("extract", "--json", str(rubbish), str(PAIRS[0][0]), expect=1)
    first, second = (json.loads(line) for line in printed.splitlines())
    assert first["error"]
    assert "outcome" in second
