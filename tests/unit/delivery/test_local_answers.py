from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todoku.delivery.engine.journal import RecordState
from todoku.delivery.engine.local_answers import BatchNotes, LocalAnswers
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
@given(cut=st.integers(0, 120))
def test_a_note_that_was_cut_off_is_left_out_and_those_before_it_stay(tmp_path: Path, cut: int) -> None:
    leave_behind(tmp_path, "dead")
    path = tmp_path / "dead" / f"{RUN}.1.0"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    heir = LocalAnswers(tmp_path, "heir")
    record = heir.read("dead", RUN, 1, 0, window=2)
    assert record.marks <= {3, 4}
    assert set(record.answers) == ({3} if cut >= len(whole.rstrip(b"\0")) else set())
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


def test_what_was_noted_outlives_a_killed_process(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        notes = LocalAnswers(tmp_path, "killed").begin(RUN, 1, 0)
        notes.mark(1, 7)
        notes.mark(1, 8)
        notes.answer(1, 7, Answer(7, AnswerKind.PERMANENT, "550 5.1.1 nobody"))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    record = LocalAnswers(tmp_path, "heir").read("killed", RUN, 1, 0, window=1)
    assert record.state is RecordState.COMPLETE
    assert record.marks == {7, 8}
    assert record.answers == {7: Answer(7, AnswerKind.PERMANENT, "550 5.1.1 nobody")}


def test_a_second_visit_notes_behind_the_first_and_over_its_torn_end(tmp_path: Path) -> None:
    leave_behind(tmp_path, "me")
    path = tmp_path / "me" / f"{RUN}.1.0"
    used = len(path.read_bytes().rstrip(b"\0"))
    with path.open("r+b") as file:
        file.seek(used)
        file.write(b"\x02\0\0\0" + b"\n" * 60)  # the beginning of a note whose process was killed
    me = LocalAnswers(tmp_path, "me")
    notes = me.begin(RUN, 1, 0)
    notes.mark(2, 9)
    notes.close()
    record = me.read("me", RUN, 1, 0, window=2)
    assert record.marks == {3, 4, 9}
    assert set(record.answers) == {3}


def test_more_notes_than_a_file_begins_with(tmp_path: Path) -> None:
    me = LocalAnswers(tmp_path, "me")
    notes = me.begin(RUN, 1, 0)
    for index in range(500):
        notes.mark(1, index)
        notes.answer(1, index, Answer(index, AnswerKind.TEMPORARY, f"451 4.3.0 {'ま' * 300} {index}"))
    notes.close()
    record = me.read("me", RUN, 1, 0, window=1)
    assert record.marks == set(range(500))
    assert record.answers[499].text.startswith("451 4.3.0 ま")


def note_many(notes: BatchNotes) -> None:
    for index in range(10_000):
        notes.mark(1, index)


def test_a_full_disk_is_met_before_the_message_is_completed(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: both end posix_fallocate, not the write to mapped memory."""
    notes = LocalAnswers(tmp_path, "me").begin(RUN, 1, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            note_many(notes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    notes.close()
    assert len(LocalAnswers(tmp_path, "heir").read("me", RUN, 1, 0, window=1).marks) > 3_000


def test_a_file_that_served_one_batch_serves_the_next_one_without_its_notes(tmp_path: Path) -> None:
    me = LocalAnswers(tmp_path, "me")
    for batch in range(40):
        notes = me.begin(RUN, 1, batch)
        notes.mark(1, batch)
        notes.answer(1, batch, Answer(batch, AnswerKind.ACCEPTED, "250 ok"))
        notes.close()
        record = me.read("me", RUN, 1, batch, window=1)
        assert record.state is RecordState.COMPLETE
        assert record.marks == set(record.answers) == {batch}
        me.forget("me", RUN, 1, batch)
        assert me.read("me", RUN, 1, batch, window=1).state is RecordState.ABSENT
    assert len(list((tmp_path / "me").iterdir())) == 2
    me.close()
    assert list(tmp_path.iterdir()) == []


def test_many_batches_at_once_do_not_pile_up_files(tmp_path: Path) -> None:
    me = LocalAnswers(tmp_path, "me")
    visits = [me.begin(RUN, 1, batch) for batch in range(50)]
    for batch, notes in enumerate(visits):
        notes.mark(1, batch)
        notes.close()
    assert all(me.read("me", RUN, 1, batch, window=1).marks == {batch} for batch in range(50))
    for batch in range(50):
        me.forget("me", RUN, 1, batch)
    assert len(list((tmp_path / "me").iterdir())) <= 17
    me.sweep({RUN})
    me.close()
    assert list(tmp_path.iterdir()) == []
