from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from todoku.engines import files, postgres_place
from todoku.engines.errors import EngineFailed
from todoku.engines.postgres import _is_ready, _remove_stale_pid


def note(data: Path, process_id: int, state: str) -> Path:
    path = data / "postmaster.pid"
    path.write_text(f"{process_id}\n{data}\n1\n5432\n/run\n\n1 2\n{state:<8}\n", encoding="ascii")
    return path


def test_ready_is_the_postmasters_own_word_with_its_own_number(tmp_path: Path) -> None:
    note(tmp_path, 77, "ready")
    assert _is_ready(tmp_path, 77)
    assert not _is_ready(tmp_path, 78)
    note(tmp_path, 77, "starting")
    assert not _is_ready(tmp_path, 77)


def test_note_with_the_number_of_a_stranger_is_removed(tmp_path: Path) -> None:
    path = note(tmp_path, os.getpid(), "ready")
    _remove_stale_pid(tmp_path)
    assert not path.exists()


def test_note_of_a_postmaster_that_works_in_these_data_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = note(tmp_path, os.getpid(), "ready")
    with pytest.raises(EngineFailed, match=str(os.getpid())):
        _remove_stale_pid(tmp_path)
    assert path.exists()


def test_long_home_gets_a_short_socket_folder_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 90)
    (home / "run").mkdir(parents=True)
    place = postgres_place.prepare(home, None)
    try:
        assert len(os.fsencode(place.sockets / postgres_place.SOCKET_NAME)) <= 107
        assert stat.S_IMODE(place.sockets.stat().st_mode) == 0o700
        assert postgres_place.prepare(home, None).sockets == place.sockets
    finally:
        place.sockets.rmdir()


def test_short_socket_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    home = tmp_path / ("y" * 90)
    (home / "run").mkdir(parents=True)
    trap = postgres_place.prepare(home, None).sockets
    trap.chmod(0o777)
    chosen = postgres_place.prepare(home, None).sockets
    try:
        assert chosen != trap
        assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
    finally:
        trap.rmdir()
        chosen.rmdir()


def test_private_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "nats.url"
    files.write_private(path, "one")
    files.write_private(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["nats.url"]
