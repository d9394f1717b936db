"""The processes of the whole program, their faults, and the two counts."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from todoku.engines.embedded import EmbeddedEngine
from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres

HERE = Path(__file__).parent
ROLES = {"send-1": "send", "send-2": "send", "plan": "plan", "book": "book"}
PARTNERS = {"plan-2": "plan", "book-2": "book"}  # never hurt: they do the others' work, and do it at the same time
TARGETS = (*ROLES, "send-1", "send-2", "nats", "postgres")  # senders twice: there the money is


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to whom. pause_seconds: 0 = kill -9, started again after down_seconds."""

    target: str
    after_seconds: float
    pause_seconds: float
    down_seconds: float

    @classmethod
    def by(cls, randomness: random.Random) -> Fault:
        """Draw one."""
        paused = randomness.random() < 0.4
        return cls(
            target=randomness.choice(TARGETS),
            after_seconds=randomness.random() * 1.5,
            pause_seconds=randomness.choice((0.2, 1.0, 3.5)) if paused else 0.0,
            down_seconds=randomness.random() * 0.7,
        )


class World:
    """Start everything; hurt it; put it right again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._engines: dict[str, EmbeddedEngine] = {"postgres": EmbeddedPostgres(home), "nats": EmbeddedNats(home)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sink: subprocess.Popen[bytes] | None = None
        self._sink_port = 0

    def start(self, answer_delay_seconds: float) -> None:
        """Start engines and sink; the roles come with `start_roles`, when the tables are there."""
        os.environ["TODOKU_HOME"] = str(self._home)
        os.environ["TODOKU_DATABASE_URL"] = self._engines["postgres"].start()
        os.environ["TODOKU_NATS_URL"] = self._engines["nats"].start()
        command = [sys.executable, str(HERE / "sink_process.py"), "0", str(answer_delay_seconds)]
        self._sink = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._sink.stdout is not None
        self._sink_port = int(self._sink.stdout.readline())
        os.environ["TODOKU_RELAY_URL"] = f"smtp://127.0.0.1:{self._sink_port}"

    def start_roles(self) -> None:
        """Start one planner, one projector and two senders."""
        for name in ROLES:
            self._start(name)

    def start_partners(self) -> None:
        """Start a second planner and a second projector, for good."""
        for name in PARTNERS:
            self._start(name)

    def stop(self) -> None:
        """End everything."""
        everything = [*self._processes.values(), *([self._sink] if self._sink else [])]
        for process in everything:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for engine in self._engines.values():
            engine.stop()

    def play(self, fault: Fault) -> None:
        """Let the fault happen and end; returns when everything runs again."""
        time.sleep(fault.after_seconds)
        members = self._members(fault.target)
        if fault.pause_seconds:
            _each(members, psutil.Process.suspend)
            time.sleep(fault.pause_seconds)
            _each(members, psutil.Process.resume)
            return
        _each(members, psutil.Process.suspend)  # one instant for the whole tree
        _each(members, psutil.Process.kill)
        psutil.wait_procs(members, timeout=10)
        time.sleep(fault.down_seconds)
        if fault.target in self._engines:
            self._engines[fault.target].restart()
        else:
            self._processes[fault.target].wait()
            self._start(fault.target)

    def taken(self) -> Counter[tuple[str, str]]:
        """Return what the sink has: (run id, recipient) and how often."""
        listed: list[list[Any]] = json.loads(self._ask("XLIST"))
        return Counter({(run, recipient): times for run, recipient, times in listed})

    def forget(self) -> None:
        """Let the sink begin anew."""
        self._ask("XFORGET")

    def logs(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a role's log."""
        return "\n".join((self._home / f"{name}.log").read_text("utf-8", "replace").splitlines()[-lines:])

    def _start(self, name: str) -> None:
        with (self._home / f"{name}.log").open("ab") as log:
            command = [sys.executable, str(HERE / "role_process.py"), (ROLES | PARTNERS)[name]]
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def _members(self, target: str) -> list[psutil.Process]:
        pid = self._engines[target].pid if target in self._engines else self._processes[target].pid
        assert pid is not None, "whatever is hurt was started"
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]

    def _ask(self, command: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self._sink_port)) as peer, peer.makefile("rb") as answers:
            answers.readline()
            peer.sendall(command.encode() + b"\r\n")
            return answers.readline()


def _each(members: list[psutil.Process], action: Any) -> None:
    for member in members:
        with suppress(psutil.NoSuchProcess):
            action(member)
