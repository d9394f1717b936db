from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from todoku.engines.errors import HomeBusy
from todoku.engines.lock import HomeLock


def test_second_owner_is_refused_at_once_and_told_who_has_it(tmp_path: Path) -> None:
    first = HomeLock(tmp_path, "nats")
    first.acquire()
    with pytest.raises(HomeBusy, match=f"process {os.getpid()}"):
        HomeLock(tmp_path, "nats").acquire()
    first.release()
    second = HomeLock(tmp_path, "nats")
    second.acquire()
    second.release()


def test_what_a_child_still_holds_after_its_owner_let_go_is_waited_for(tmp_path: Path) -> None:
    first = HomeLock(tmp_path, "nats")
    first.acquire()
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(first.descriptor,)
    )
    first.release()
    with pytest.raises(HomeBusy, match="still ending"):
        HomeLock(tmp_path, "nats").acquire(wait_seconds=0.0)
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
    second = HomeLock(tmp_path, "nats")
    second.acquire()
    second.release()
