"""What a successor decides about a window whose sender vanished; the truth is played by a small model of its death."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.engine.journal import (
    ABSENT_RECORD,
    Deferral,
    Intent,
    JournalMessage,
    LocalRecord,
    RecordState,
    Rest,
    last_deferrals,
    pack_settled,
    progress_after,
    settle,
    state_of,
)
from todoku.delivery.types import Answer, AnswerKind


@dataclass(frozen=True)
class Fate:
    """How far one message came. noted: whether the answer reached the notes before the process died."""

    completed: bool
    answer: AnswerKind | None
    noted: bool


fates = st.lists(
    st.sampled_from(
        [
            Fate(completed=False, answer=None, noted=False),
            Fate(completed=True, answer=None, noted=False),
            *(Fate(completed=True, answer=kind, noted=noted) for kind in AnswerKind for noted in (True, False)),
            *(Fate(completed=False, answer=kind, noted=True) for kind in (AnswerKind.TEMPORARY, AnswerKind.PERMANENT)),
        ]
    ),
    min_size=1,
    max_size=100,
)


def record_of(lives: list[Fate], state: RecordState) -> LocalRecord:
    if state is RecordState.ABSENT:
        return ABSENT_RECORD
    marks = frozenset(index for index, fate in enumerate(lives) if fate.completed)
    answers = {
        index: Answer(index, fate.answer, "words")
        for index, fate in enumerate(lives)
        if fate.noted and fate.answer is not None
    }
    return LocalRecord(state, marks, answers)


@given(fates, st.sampled_from(RecordState))
def test_nobody_who_may_have_the_message_is_sent_it_again(lives: list[Fate], state: RecordState) -> None:
    intent = Intent(1, tuple(range(len(lives))))
    decided = settle(intent, record_of(lives, state))
    for index in decided.free:
        fate = lives[index]
        accepted_perhaps = fate.completed and fate.answer is not AnswerKind.TEMPORARY
        refused_for_certain = fate.answer in (AnswerKind.TEMPORARY, AnswerKind.PERMANENT) and fate.noted
        assert not accepted_perhaps or refused_for_certain


@given(fates, st.sampled_from(RecordState))
def test_everybody_is_decided_exactly_once(lives: list[Fate], state: RecordState) -> None:
    intent = Intent(1, tuple(range(len(lives))))
    decided = settle(intent, record_of(lives, state))
    assert sorted([*decided.answers, *decided.unknown, *decided.free]) == list(intent.indexes)


@given(fates)
def test_unknown_is_no_more_than_what_was_in_flight(lives: list[Fate]) -> None:
    decided = settle(Intent(1, tuple(range(len(lives)))), record_of(lives, RecordState.COMPLETE))
    in_flight = {
        index
        for index, fate in enumerate(lives)
        if fate.completed and (not fate.noted or fate.answer is AnswerKind.UNKNOWN)
    }
    assert set(decided.unknown) == in_flight


@given(fates)
def test_known_answers_are_kept_as_they_were(lives: list[Fate]) -> None:
    record = record_of(lives, RecordState.PARTIAL)
    decided = settle(Intent(1, tuple(range(len(lives)))), record)
    for index, answer in decided.answers.items():
        assert answer == record.answers[index]
        assert answer.kind in (AnswerKind.ACCEPTED, AnswerKind.PERMANENT)


def test_without_any_record_the_whole_window_is_unknown() -> None:
    assert settle(Intent(1, (4, 5)), ABSENT_RECORD).unknown == (4, 5)


def test_a_living_predecessor_keeps_what_it_has_not_marked_yet() -> None:
    decided = settle(Intent(1, (0, 1)), LocalRecord(RecordState.PARTIAL, frozenset({0}), {}))
    assert decided.unknown == (0, 1)


@pytest.mark.parametrize("kind", AnswerKind)
def test_only_a_temporary_answer_leaves_the_recipient_pending(kind: AnswerKind) -> None:
    assert (state_of(kind) is None) == (kind is AnswerKind.TEMPORARY)


REST = Rest(9, 2, datetime(2026, 11, 21, 3, 0, tzinfo=UTC))


def line(**changes: object) -> JournalMessage:
    values: dict[str, object] = {
        "project_id": "shop",
        "run_id": "r",
        "seal": 1,
        "batch": "0",
        "sender_id": "me",
        "window": 0,
        "outcomes": (),
        "deferred": (),
        "settled": b"",
        "intent": None,
    }
    return JournalMessage(**(values | changes))  # type: ignore[arg-type]


def test_the_last_line_alone_tells_where_a_batch_stands() -> None:
    progress = progress_after(
        line(settled=pack_settled({0, 9}), intent=Intent(7, (3, 4)), windows=7, resting=(REST,)), 55
    )
    assert (progress.sequence, progress.settled, progress.windows) == (55, frozenset({0, 9}), 7)
    assert (progress.intent, progress.resting) == (Intent(7, (3, 4)), (REST,))


def test_a_line_without_intent_does_not_make_window_numbers_begin_again() -> None:
    assert progress_after(line(windows=12), 1).windows == 12


def test_the_newest_temporary_answer_counts() -> None:
    lines = [line(deferred=(Deferral(1, "old"), Deferral(2, "two"))), line(deferred=(Deferral(1, "new"),))]
    assert last_deferrals(lines) == {1: "new", 2: "two"}
