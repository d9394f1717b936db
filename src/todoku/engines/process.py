"""Child processes that can't outlive this one."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from todoku.engines.accounts import Account

_LAUNCH = Path(__file__).with_name("launch.py")
_GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. account: the user to become, None = stay. death_signal: what it gets when we die.

    output: file for standard output and error, None = ours. keep_open: descriptors that the child inherits.
    own_group: lead a process group, so that it can be signalled with all it starts.
    """

    argv: Sequence[str]
    death_signal: signal.Signals
    account: Account | None = None
    environment: Mapping[str, str] | None = None
    output: Path | None = None
    keep_open: tuple[int, ...] = ()
    own_group: bool = True


def start(command: Command) -> subprocess.Popen[bytes]:
    """Start the program; raises OSError when Python itself can't be started."""
    return _Starter.of_this_process().start(command)


def end(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> int:
    """Send each signal and wait its seconds until the child ends, at last SIGKILL; return the exit code."""
    for number, wait_seconds in steps:
        if child.poll() is None:
            child.send_signal(number)
        try:
            return child.wait(timeout=wait_seconds)
        except subprocess.TimeoutExpired:
            continue
    child.kill()
    return child.wait()


def signal_child(child: subprocess.Popen[bytes], number: signal.Signals, *, group: bool) -> None:
    """Signal the child, or its whole group; one that has gone is no error."""
    try:
        if group:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
    except ProcessLookupError:
        return


class _Starter:
    """Starts children from one thread that lives as long as this process.

    The kernel sends the parent-death signal when the *thread* that forked ends (prctl(2)); a child started from a
    passing thread would die with it.
    """

    _instance: _Starter | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._queue: queue.SimpleQueue[tuple[Command, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="child-starter", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> _Starter:
        with cls._lock:
            if cls._instance is None or cls._instance.pid != os.getpid():
                cls._instance = cls()
            return cls._instance

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._queue.put((command, answer))
        return answer.result()

    def _run(self) -> None:
        while True:
            command, answer = self._queue.get()
            try:
                answer.set_result(_popen(command))
            except Exception as error:  # noqa: BLE001  # handed to the caller, whatever it is
                answer.set_exception(error)


def _popen(command: Command) -> subprocess.Popen[bytes]:
    account = command.account
    who = ["-", "-", "-"]
    if account is not None:
        who = [str(account.uid), str(account.gid), ",".join(str(group) for group in account.groups)]
    argv = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(command.death_signal)), *who]
    output: IO[bytes] | None = None
    try:
        if command.output is not None:
            output = command.output.open("ab")
        return subprocess.Popen(
            [*argv, *command.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=dict(command.environment) if command.environment is not None else None,
            pass_fds=command.keep_open,
            process_group=0 if command.own_group else None,
        )
    finally:
        if output is not None:
            output.close()


class Guard:
    """The process that kills the groups of our children should we be killed; see guard.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def watch(self, group: int) -> None:
        """Kill this group when we are gone."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """Forget a group that has ended, before its number is used again."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guard; it kills what is still watched."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=10)

    @property
    def pid(self) -> int:
        """Return the guard's process id."""
        return self._process.pid

    def _tell(self, line: str) -> None:
        with self._lock:
            pipe = self._process.stdin
            if pipe is not None and not pipe.closed and self._process.poll() is None:
                pipe.write(line.encode())
                pipe.flush()
