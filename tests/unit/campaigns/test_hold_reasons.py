"""What a person should look at before an audience is mailed."""

from __future__ import annotations

import pytest

from todoku.campaigns.hold_reasons import why_hold
from todoku.campaigns.packing import PackedEnd
from todoku.campaigns.types import RunKind


def end(planned: int, to_send: int | None = None, **faults: int) -> PackedEnd:
    sendable = planned if to_send is None else to_send
    return PackedEnd(planned, sendable, planned - sendable, faults)


@pytest.mark.parametrize(
    ("what", "expected", "words"),
    [
        (end(0), 10, "nobody is in the audience"),
        (end(5, 0), 5, "none of the 5 people"),
        (end(100, guest_name=10), 100, "10 of 100 messages can't be filled in: guest_name (10)"),
        (end(100, guest_name=6, href=4), 100, "10 of 100 messages can't be filled in: guest_name (6), href (4)"),
        (end(201), 100, "the audience has 201 people where about 100 were expected"),
        (end(49), 100, "the audience has 49 people where about 100 were expected"),
    ],
)
def test_is_held(what: PackedEnd, expected: int, words: str) -> None:
    held = why_hold(what, RunKind.CAMPAIGN, 2.0, expected)
    assert held is not None
    assert words in held.reason.en
    assert held.reason.ja
    assert held.word in held.reason.en


@pytest.mark.parametrize(
    ("what", "factor", "expected"),
    [
        (end(100, guest_name=9), 2.0, 100),
        (end(200), 2.0, 100),
        (end(50), 2.0, 100),
        (end(10_000), 0.0, 10),
        (end(10_000), 2.0, None),
        (end(19), 2.0, 3),
    ],
)
def test_leaves(what: PackedEnd, factor: float, expected: int | None) -> None:
    assert why_hold(what, RunKind.CAMPAIGN, factor, expected) is None


@pytest.mark.parametrize("kind", [RunKind.TEST, RunKind.RESEND])
def test_a_test_or_resend_to_nobody_closes_its_books(kind: RunKind) -> None:
    assert why_hold(end(3, 0), kind, 2.0, 100) is None
