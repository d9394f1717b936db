from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from todoku.engines.errors import HomeBusy
from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres
from todoku.engines.supervisor import Supervisor

PARENT = Path(__file__).with_name("parent.py")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="todoku-chaos-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def start_parent(home: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    parent = subprocess.Popen(
        [sys.executable, str(PARENT), str(home)], stdout=subprocess.PIPE, text=True, env=os.environ | _PATH
    )
    assert parent.stdout is not None
    for line in parent.stdout:
        if line == "ready\n":
            break
    else:
        raise AssertionError("the parent ended before it was ready")
    pause = threading.Event()
    for _ in range(600):
        family = psutil.Process(parent.pid).children(recursive=True)
        if sum(process.name().startswith("python") for process in family) >= 3:  # guard, role, the role's child
            return parent, family
        pause.wait(0.05)
    raise AssertionError("the role did not start its child")


_PATH = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def wait_for(parent: subprocess.Popen[str]) -> int:
    with parent:
        return parent.wait(timeout=30)


def assert_all_gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, [process.cmdline() for process in alive]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_nothing_survives_the_parent_and_all_starts_again(home: Path, number: signal.Signals) -> None:
    parent, family = start_parent(home)
    names = {process.name() for process in family}
    assert {"nats-server", "postgres"} <= names
    assert len(family) >= 8  # postgres has several processes of its own
    parent.send_signal(number)
    code = wait_for(parent)
    assert_all_gone(family)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0)
    again = EmbeddedNats(home), EmbeddedPostgres(home)
    try:
        for engine in again:
            engine.start()  # no lock, socket, port or note of the old ones is in the way
    finally:
        for engine in again:
            engine.stop()


def test_engines_alone_die_with_a_parent_that_never_stops_them(home: Path) -> None:
    program = (
        "import sys, threading; from pathlib import Path\n"
        "from todoku.engines.nats import EmbeddedNats\n"
        "from todoku.engines.postgres import EmbeddedPostgres\n"
        "home = Path(sys.argv[1])\n"
        "EmbeddedNats(home).start(); EmbeddedPostgres(home).start()\n"
        "print('ready', flush=True); threading.Event().wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True, env=os.environ | _PATH
    )
    assert parent.stdout is not None
    while parent.stdout.readline() not in ("ready\n", ""):
        continue
    family = psutil.Process(parent.pid).children(recursive=True)
    assert {"nats-server", "postgres"} <= {process.name() for process in family}
    parent.kill()
    wait_for(parent)
    assert_all_gone(family)


def test_second_supervisor_of_one_home_is_refused_clearly(home: Path) -> None:
    parent, family = start_parent(home)
    try:
        with pytest.raises(HomeBusy, match=f"in use by process {parent.pid}"):
            Supervisor(home).start()
    finally:
        parent.terminate()
        wait_for(parent)
    assert_all_gone(family)
