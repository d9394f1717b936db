from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todoku.delivery.engine.journal import RecordState
from todoku.delivery.engine.local_answers import LocalAnswers
from todoku.delivery.types import Answer, AnswerKind
from todoku.kernel.errors import ConfigurationError

RUN = "0198f0aa"


def leave_behind(folder: Path, sender_id: str) -> None:
    """Play a sender that noted something and died."""
    dead = LocalAnswers(folder, sender_id)
    notes = dead.begin(RUN, 1, 0)
    notes.mark(1, 7)
    notes.mark(2, 3)
    notes.mark(2, 4)
    notes.answer(2, 3, Answer(3, AnswerKind.ACCEPTED, "250 2.0.0 queued as 山"))
    notes.close()
    dead.close()


def test_a_dead_sender_is_known_completely(tmp_path: Path) -> None:
    leave_behind(tmp_path, "dead")
    record = LocalAnswers(tmp_path, "heir").read("dead", RUN, 1, 0, window=2)
    assert record.state is RecordState.COMPLETE
    assert record.marks == {3, 4}
    assert record.answers == {3: Answer(3, AnswerKind.ACCEPTED, "250 2.0.0 queued as 山")}


def test_a_living_sender_is_known_in_part(tmp_path: Path) -> None:
    alive = LocalAnswers(tmp_path, "alive-one")
    alive.begin(RUN, 1, 0).mark(1, 5)
    record = LocalAnswers(tmp_path, "heir").read("alive-one", RUN, 1, 0, window=1)
    assert (record.state, record.marks) == (RecordState.PARTIAL, frozenset({5}))
    alive.close()


def test_a_restart_of_the_machine_leaves_part_of_the_notes(tmp_path: Path) -> None:
    leave_behind(tmp_path, "dead")
    (tmp_path / "dead" / "alive").write_bytes(b"another boot")
    assert LocalAnswers(tmp_path, "heir").read("dead", RUN, 1, 0, window=2).state is RecordState.PARTIAL


def test_another_machine_knows_nothing(tmp_path: Path) -> None:
    assert LocalAnswers(tmp_path, "heir").read("elsewhere", RUN, 1, 0, window=1).state is RecordState.ABSENT


def test_a_batch_without_notes_is_not_taken_for_a_complete_record(tmp_path: Path) -> None:
    leave_behind(tmp_path, "dead")
    assert LocalAnswers(tmp_path, "heir").read("dead", RUN, 1, batch=9, window=1).state is RecordState.ABSENT


def test_its_own_earlier_visit_is_complete_and_its_present_one_is_not(tmp_path: Path) -> None:
    me = LocalAnswers(tmp_path, "me")
    notes = me.begin(RUN, 1, 0)
    notes.mark(1, 0)
    assert me.read("me", RUN, 1, 0, window=1).state is RecordState.PARTIAL
    notes.close()
    assert me.read("me", RUN, 1, 0, window=1).state is RecordState.COMPLETE


def test_two_processes_can_not_have_one_sender_id(tmp_path: Path) -> None:
    first = LocalAnswers(tmp_path, "same")
    with pytest.raises(ConfigurationError):
        LocalAnswers(tmp_path, "same")
    first.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(cut=st.integers(0, 200))
def test_a_note_that_was_cut_off_is_left_out_and_those_before_it_stay(tmp_path: Path, cut: int) -> None:
    leave_behind(tmp_path, "dead")
    path = tmp_path / "dead" / f"{RUN}.1.0"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    heir = LocalAnswers(tmp_path, "heir")
    record = heir.read("dead", RUN, 1, 0, window=2)
    assert record.marks <= {3, 4}
    assert set(record.answers) == ({3} if cut >= len(whole) else set())
    heir.forget("dead", RUN, 1, 0)
    heir.close()


def test_zeros_after_a_power_loss_are_no_notes(tmp_path: Path) -> None:
    leave_behind(tmp_path, "dead")
    with (tmp_path / "dead" / f"{RUN}.1.0").open("ab") as file:
        file.write(bytes(4096))
    assert LocalAnswers(tmp_path, "heir").read("dead", RUN, 1, 0, window=2).marks == {3, 4}


def test_forgetting_and_sweeping_leave_nothing_of_closed_runs(tmp_path: Path) -> None:
    leave_behind(tmp_path, "dead")
    leave_behind(tmp_path, "dead-too")
    heir = LocalAnswers(tmp_path, "heir")
    heir.sweep({RUN})
    assert (tmp_path / "dead" / f"{RUN}.1.0").exists()
    heir.forget("dead", RUN, 1, 0)
    assert not (tmp_path / "dead").exists()
    heir.sweep(set())
    assert not (tmp_path / "dead-too").exists()
    heir.close()
    assert list(tmp_path.iterdir()) == []


def test_sweeping_leaves_a_living_sender_alone(tmp_path: Path) -> None:
    alive = LocalAnswers(tmp_path, "alive-one")
    alive.begin(RUN, 1, 0).mark(1, 5)
    LocalAnswers(tmp_path, "heir").sweep(set())
    assert (tmp_path / "alive-one" / f"{RUN}.1.0").exists()
    alive.close()
