from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from todoku.engines.checks import GIB, check_left_data, disk_health
from todoku.engines.checks_nats import sync_of_configuration
from todoku.engines.nats import _CONFIGURATION
from todoku.engines.ports import is_below, listening_inodes
from todoku.engines.skew import skew_health
from todoku.kernel.clock import VirtualClock
from todoku.kernel.health import HealthState

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)

PROC_NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F9A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F9A 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
"""


def test_only_listening_sockets_of_the_port_count() -> None:
    assert listening_inodes(PROC_NET_TCP, 8090) == {"4711"}
    assert listening_inodes(PROC_NET_TCP, 25) == {"4713"}
    assert listening_inodes(PROC_NET_TCP, 8091) == set()


def test_descent_is_followed_upwards() -> None:
    assert is_below(os.getpid(), os.getpid())
    assert is_below(os.getpid(), os.getppid())
    assert not is_below(os.getppid(), os.getpid())


@pytest.mark.parametrize(
    ("seconds", "state"),
    [
        (0.0, HealthState.OK),
        (0.9, HealthState.OK),
        (-2.0, HealthState.LATE),
        (4.0, HealthState.LATE),
        (-60.0, HealthState.FAILING),
    ],
)
def test_skew_is_judged_in_both_directions(seconds: float, state: HealthState) -> None:
    fact = skew_health("nats.clock", NOW + timedelta(seconds=seconds), NOW, NOW)
    assert fact.state is state
    assert bool(fact.todo) is (state is not HealthState.OK)


def test_what_a_slow_answer_leaves_open_is_no_skew() -> None:
    assert (
        skew_health("nats.clock", NOW, NOW - timedelta(seconds=9), NOW + timedelta(seconds=9)).state is HealthState.OK
    )


@pytest.mark.parametrize(
    ("free_bytes", "whole_bytes", "state"),
    [
        (50 * GIB, 100 * GIB, HealthState.OK),
        (4 * GIB, 100 * GIB, HealthState.LATE),
        (1 * GIB, 4 * GIB, HealthState.LATE),
        (GIB // 5, 4 * GIB, HealthState.FAILING),
        (5 * GIB, 1000 * GIB, HealthState.FAILING),
    ],
)
def test_disk_is_judged_by_bytes_and_by_share(free_bytes: int, whole_bytes: int, state: HealthState) -> None:
    block = 4096
    status = os.statvfs_result(
        (block, block, whole_bytes // block, free_bytes // block, free_bytes // block, 1000, 900, 900, 0, 255)
    )
    assert disk_health(Path("/srv"), status, VirtualClock(NOW)).state is state


def test_disk_without_file_entries_is_full_whatever_its_bytes() -> None:
    status = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 1000, 5, 5, 0, 255))
    assert disk_health(Path("/srv"), status, VirtualClock(NOW)).state is HealthState.FAILING


@pytest.mark.parametrize(
    ("text", "sync"),
    [
        (_CONFIGURATION, "always"),
        ('jetstream {\n  sync_interval: "30s"\n}', "30s"),
        ("jetstream {\n  sync: always\n}", "always"),
        ("jetstream { store_dir: /x }", ""),
        ("", ""),
    ],
)
def test_sync_setting_is_read_from_a_configuration(text: str, sync: str) -> None:
    assert sync_of_configuration(text) == sync


def test_database_whose_home_forgot_it_is_reported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("kept", "left"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "home").write_text(f"{home}\n", encoding="utf-8")
    (home / "postgres.location").write_text(str(tmp_path / "data" / "kept"), encoding="utf-8")
    (fact,) = check_left_data(VirtualClock(NOW), tmp_path / "data")
    assert str(tmp_path / "data" / "left") in fact.todo
    assert check_left_data(VirtualClock(NOW), tmp_path / "nothing") == []
