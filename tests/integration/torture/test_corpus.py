"""Every torture mail ends in the state that its case names, with what it says read, in bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest
from tests.torture.corpus import corpus
from tests.torture.path import RECEIVED_AT_UTC, End, follow
from tests.torture.writing import Case

from todoku.intake.extracting import RawMail, read_all
from todoku.intake.fates import issued_at
from todoku.intake.types import MailState

CASES = corpus()
LARGE_BYTES = 1_000_000
_OVERHEAD_BYTES = 24 * 1024 * 1024

pytestmark = pytest.mark.timeout(60)  # a guard against hanging, no promise


def facts_of(end: End) -> dict[str, object]:
    """Return what was read by the short names of the cases."""
    facts = end.reading.facts
    assert facts is not None
    return {
        "start": facts.start and facts.start.isoformat(),
        "end": facts.end and facts.end.isoformat(),
        "party_size": facts.party_size,
        "name": facts.guest.name,
        "kana": facts.guest.kana,
        "phone": facts.guest.phone,
        "course": facts.course,
        "issued_at": issued_at(end.reading, RECEIVED_AT_UTC).isoformat(),
    }


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 200


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_mail_ends_in_its_state(case: Case) -> None:
    end = follow(case.make())
    wanted = MailState.PENDING if case.state is MailState.APPLIED else case.state
    assert (end.state, end.reason) == (wanted, case.reason)
    if end.outcome.reading is not None:
        assert (end.reading.lossy_characters > 0) == case.lossy
    if case.facts:
        found = facts_of(end)
        assert {name: found[name] for name in case.facts} == case.facts


def test_the_same_bytes_end_the_same_in_one_batch_as_alone() -> None:
    mails = [case.make() for case in CASES]
    small = [raw for raw in mails if len(raw) < LARGE_BYTES]
    together = read_all([RawMail(str(number), raw, RECEIVED_AT_UTC) for number, raw in enumerate(small)])
    assert together == [follow(raw).outcome for raw in small]


@pytest.mark.parametrize(
    "name", [case.name for case in CASES if case.name.startswith(("60 MB", "20 MB", "html", "two mil"))]
)
def test_a_large_mail_takes_memory_by_its_octets(name: str) -> None:
    raw = next(case for case in CASES if case.name == name).make()
    follow(b"")  # what is loaded once counts for nobody
    tracemalloc.start()
    try:
        follow(raw)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes <= 6 * len(raw) + _OVERHEAD_BYTES
