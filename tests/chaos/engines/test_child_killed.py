from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres
from todoku.engines.supervisor import ChildState, Supervisor
from todoku.kernel.retry import BackOff

SOON = BackOff(base_seconds=0.05, cap_seconds=0.2)


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="todoku-chaos-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def wait_until(met: Callable[[], bool], what: str, timeout_seconds: float = 60.0) -> None:
    pause = threading.Event()
    for _ in range(int(timeout_seconds / 0.02)):
        if met():
            return
        pause.wait(0.02)
    raise AssertionError(f"not within {timeout_seconds:g} s: {what}")


def test_engines_come_back_and_commits_before_the_kill_are_there(home: Path) -> None:
    postgres, nats = EmbeddedPostgres(home), EmbeddedNats(home)
    supervisor = Supervisor(home, back_off=SOON)
    supervisor.add_engine(nats)
    supervisor.add_engine(postgres)
    supervisor.start()
    try:
        url = (home / "run" / "postgres.url").read_text(encoding="utf-8")
        committed = 0
        for kill in range(3):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("create table if not exists kept (n int primary key)")
                row = connection.execute("select count(*), coalesce(max(n), 0) from kept").fetchone()
                assert row == (committed, committed)
                try:
                    while True:
                        connection.execute("insert into kept values (%s)", (committed + 1,))
                        committed += 1
                        if committed % 50 == 0:
                            assert postgres.pid is not None
                            os.kill(postgres.pid, signal.SIGKILL)
                except psycopg.OperationalError:
                    pass  # the kill

            def came_back(name: str, times: int) -> bool:
                return any(
                    child.name == name and child.restarts >= times and child.state is ChildState.RUNNING
                    for child in supervisor.status()
                )

            wait_until(lambda n=kill + 1: came_back("postgres", n), "postgres is back")  # type: ignore[misc]
            with psycopg.connect(url) as connection:
                row = connection.execute("select count(*), max(n) from kept").fetchone()
                assert row is not None
                assert row[0] == row[1] >= committed  # the last one may have been committed without our knowing
                committed = row[0]
        assert nats.pid is not None
        os.kill(nats.pid, signal.SIGKILL)
        wait_until(lambda: came_back("nats", 1), "nats is back")
    finally:
        supervisor.stop()
    assert all(child.state is ChildState.STOPPED for child in supervisor.status())


def test_a_role_that_dies_is_started_again_without_what_it_left_behind(home: Path) -> None:
    left = (
        "import subprocess, sys, threading\n"
        "child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import threading; threading.Event().wait()'])\n"
        "print(child.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    log_path = home / "role.log"
    supervisor = Supervisor(home, back_off=SOON)
    supervisor.add_role("role", (sys.executable, "-I", "-S", "-c", left), log_path=log_path)
    supervisor.start()
    try:
        wait_until(lambda: log_path.exists() and bool(log_path.read_text(encoding="utf-8").split()), "the first child")
        grandchild = psutil.Process(int(log_path.read_text(encoding="utf-8").split()[0]))
        (status,) = supervisor.status()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        wait_until(lambda: supervisor.status()[0].restarts == 1, "a new start")
        wait_until(lambda: not grandchild.is_running() or grandchild.status() == "zombie", "the left child's end")
        assert supervisor.status()[0].last_exit_code == -signal.SIGKILL
        wait_until(lambda: len(log_path.read_text(encoding="utf-8").split()) == 2, "the second child")
    finally:
        supervisor.stop()


def test_a_role_that_ignores_sigterm_is_killed_after_its_time(home: Path) -> None:
    stubborn = (
        "import signal, threading\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "threading.Event().wait()\n"
    )
    log_path = home / "role.log"
    supervisor = Supervisor(home)
    supervisor.add_role("role", (sys.executable, "-I", "-S", "-c", stubborn), log_path=log_path, stop_seconds=0.3)
    supervisor.start()
    wait_until(lambda: log_path.exists() and "deaf" in log_path.read_text(encoding="utf-8"), "the role is deaf")
    supervisor.stop()
    (status,) = supervisor.status()
    assert (status.state, status.last_exit_code) == (ChildState.STOPPED, -signal.SIGKILL)
