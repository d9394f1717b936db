"""Start the whole program as a user does: as a command, in a home of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ENGINE_SETTINGS = ("TODOKU_DATABASE_URL", "TODOKU_NATS_URL", "TODOKU_VAULT_URL", "TODOKU_RELAY_URL")


@dataclass(frozen=True, slots=True)
class Todoku:
    """The command `todoku` with one home, and ports of its own: other installations may be at work on this machine."""

    home: Path
    web_port: int
    smtp_port: int

    def environment(self) -> dict[str, str]:
        """Return the environment of the command: this home, embedded engines."""
        kept = {name: value for name, value in os.environ.items() if name not in ENGINE_SETTINGS}
        listen = {
            "TODOKU_WEB_LISTEN": f"127.0.0.1:{self.web_port}",
            "TODOKU_SMTP_LISTEN": f"127.0.0.1:{self.smtp_port}",
        }
        return {**listen, **kept, "TODOKU_HOME": str(self.home)}

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run the command to its end and return what it printed; fails on another exit code than expected."""
        done = subprocess.run(
            [sys.executable, "-m", "todoku.cli.main", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start the command; at the end of the block it is asked to stop."""
        process = subprocess.Popen(
            [sys.executable, "-m", "todoku.cli.main", *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=120)

    def left_behind(self) -> list[str]:
        """Return the command lines of all processes that still belong to this home."""
        mark, lines = str(self.home), []
        for process in psutil.process_iter():
            try:
                belongs = mark in " ".join(process.cmdline()) or process.environ().get("TODOKU_HOME") == mark
            except psutil.Error:
                continue
            if belongs and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                lines.append(" ".join(process.cmdline()))
        return lines


def free_ports() -> tuple[int, int]:
    """Return two ports of this machine that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as smtp:
        return web.getsockname()[1], smtp.getsockname()[1]


@pytest.fixture
def make_todoku(open_folder: Callable[[], Path]) -> Iterator[Callable[[], Todoku]]:
    """Make commands with homes of their own; a test fails when one of them leaves a process behind."""
    made: list[Todoku] = []

    def make() -> Todoku:
        made.append(Todoku(open_folder() / "todoku", *free_ports()))
        return made[-1]

    yield make
    assert [line for todoku in made for line in todoku.left_behind()] == []


@pytest.fixture
def todoku(make_todoku: Callable[[], Todoku]) -> Todoku:
    return make_todoku()


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the line with which `todoku demo --json` says that it is ready."""
    assert process.stdout is not None
    document: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
    assert "url" in document, f"the demo ended before it was ready: exit code {process.wait(timeout=30)}"
    return document
