"""Keep engines and roles alive, stop them in order, leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Protocol

import structlog

from todoku.engines import files, process
from todoku.engines.errors import EngineError, EngineFailed
from todoku.engines.lock import HomeLock
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
SETTLED_SECONDS = 30.0  # a child that lived this long begins its back-off anew
ROLE_STOP_SECONDS = 15.0


class Engine(Protocol):
    """What the supervisor asks of an engine; EmbeddedPostgres and EmbeddedNats are two."""

    name: str

    @property
    def pid(self) -> int | None:
        """Return the process id, None when it was not started."""
        ...

    def start(self) -> str:
        """Start and wait until it answers; return its URL."""
        ...

    def stop(self) -> None:
        """Stop and wait until it has ended; idempotent."""
        ...

    def poll(self) -> int | None:
        """Return the exit code when it died."""
        ...

    def restart(self) -> str:
        """Stop what is left and start again."""
        ...


class ChildState(StrEnum):
    """How one child stands."""

    RUNNING = "running"
    WAITING = "waiting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One child: pid while it runs, how often it was started again, and its last exit code (negative = signal)."""

    name: str
    state: ChildState
    pid: int | None
    restarts: int
    last_exit_code: int | None


class Supervisor:
    """Starts engines in order, then roles; starts again what dies; stops roles first, then engines in reverse.

    home: its lock makes a second supervisor of one home refuse with HomeBusy. When this process is killed, the kernel
    and a guard process end every child and what those have started. One thread watches each child; `run` is for a
    program's main thread, `start` and `stop` for everything else.
    """

    def __init__(self, home: Path, *, clock: Clock | None = None, back_off: BackOff | None = None) -> None:
        self._home = home.absolute()
        self._clock = clock or SystemClock()
        self._back_off = back_off or BackOff(base_seconds=0.25, cap_seconds=15.0)
        self._lock = HomeLock(self._home, "supervisor")
        self._guard: process.Guard | None = None
        self._engines: list[_EngineChild] = []
        self._roles: list[_RoleChild] = []
        self._stop_wanted = threading.Event()

    def add_engine(self, engine: Engine) -> None:
        """Keep this engine alive; engines start in the order in which they were added."""
        self._engines.append(_EngineChild(engine, self._clock, self._back_off))

    def add_role(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        stop_seconds: float = ROLE_STOP_SECONDS,
    ) -> None:
        """Keep a command alive (argv[0] is a path). It is stopped with SIGTERM, after stop_seconds with SIGKILL.

        environment: None = ours. log_path: where its output goes, None = to ours. Any end of it, also with exit code
        0, is answered by a new start after a back-off.
        """
        command = process.Command(
            argv=tuple(argv), death_signal=signal.SIGKILL, environment=environment, output=log_path
        )
        self._roles.append(_RoleChild(name, command, stop_seconds, self._clock, self._back_off))

    def start(self) -> None:
        """Start everything and return when it runs; when something does not start, stop all and raise.

        Raises HomeBusy, BinaryMissing, EngineFailed.
        """
        self._lock.acquire()
        try:
            if self._guard is None:
                self._guard = process.Guard()
            for engine in self._engines:
                engine.begin()
                if self._stop_wanted.is_set():
                    return
            self.start_roles()
        except BaseException:
            self.stop()
            raise

    def start_roles(self) -> None:
        """Start the roles that do not run yet; for roles that were added after `start`."""
        if self._guard is None:
            raise EngineFailed("the supervisor was not started", transient=False)
        for role in self._roles:
            if not role.begun and not self._stop_wanted.is_set():
                role.guard = self._guard
                role.begin()

    def run(self) -> None:
        """Start everything, stay until SIGINT or SIGTERM comes or `request_stop` is called, stop everything.

        For the main thread; a second signal while stopping ends the roles at once.
        """
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it ignored
            numbers.append(signal.SIGHUP)
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            self.start()
            while not self._stop_wanted.wait(1.0):
                continue
        finally:
            try:
                self.stop()
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)

    def request_stop(self) -> None:
        """Make `run` return; may be called from any thread and any signal handler."""
        self._stop_wanted.set()

    def stop(self) -> None:
        """Stop roles together, then engines in reverse order, and wait for all; idempotent."""
        self._stop_wanted.set()
        for role in self._roles:
            role.ask_to_stop()
        for role in self._roles:
            role.stop()
        for engine in reversed(self._engines):
            engine.stop()
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()
            log.info("supervisor.stopped", home=str(self._home))
        self._lock.release()

    def status(self) -> list[ChildStatus]:
        """Return how every child stands, engines first."""
        return [child.status() for child in (*self._engines, *self._roles)]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop_wanted.is_set():
            for role in self._roles:
                role.kill()
        self._stop_wanted.set()


class _Child(ABC):
    """One child and the thread that watches it."""

    def __init__(self, name: str, clock: Clock, back_off: BackOff) -> None:
        self.name = name
        self.begun = False
        self._clock = clock
        self._back_off = back_off
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._state = ChildState.STOPPED
        self._restarts = 0
        self._last_exit_code: int | None = None

    def begin(self) -> None:
        """Start it and its watching thread; raises what the start raises."""
        self.begun = True
        self._launch()
        self._state = ChildState.RUNNING
        log.info("supervisor.child_started", child=self.name, pid=self._pid())
        self._thread = threading.Thread(target=self._watch, name=f"watch-{self.name}", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Make the watching thread end without a new start."""
        self._stopping.set()

    def stop(self) -> None:
        """End child and thread; idempotent."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        if self._state is not ChildState.STOPPED or self.begun:
            self._end()
        if self._state is not ChildState.STOPPED:
            self._state = ChildState.STOPPED
            log.info("supervisor.child_stopped", child=self.name)

    def status(self) -> ChildStatus:
        """Return how it stands now."""
        pid = self._pid() if self._state is ChildState.RUNNING else None
        return ChildStatus(self.name, self._state, pid, self._restarts, self._last_exit_code)

    def _watch(self) -> None:
        attempt = 0
        started = self._clock.monotonic_seconds()
        while not self._stopping.wait(POLL_SECONDS):
            if self._state is ChildState.RUNNING:
                code = self._exit_code()
                if code is None:
                    continue
                self._last_exit_code = code
                self._state = ChildState.WAITING
                if self._clock.monotonic_seconds() - started > SETTLED_SECONDS:
                    attempt = 0
                log.error("supervisor.child_died", child=self.name, exit_code=code, restarts=self._restarts)
            if self._stopping.wait(self._back_off.wait_seconds(attempt)):
                return
            attempt += 1
            try:
                self._launch_again()
            except (EngineError, OSError) as error:
                log.error("supervisor.child_start_failed", child=self.name, attempt=attempt, error=str(error))
                continue
            started = self._clock.monotonic_seconds()
            self._restarts += 1
            self._state = ChildState.RUNNING
            log.warning("supervisor.child_restarted", child=self.name, pid=self._pid(), restarts=self._restarts)

    @abstractmethod
    def _launch(self) -> None: ...

    @abstractmethod
    def _launch_again(self) -> None: ...

    @abstractmethod
    def _exit_code(self) -> int | None: ...

    @abstractmethod
    def _end(self) -> None: ...

    @abstractmethod
    def _pid(self) -> int | None: ...


class _EngineChild(_Child):
    def __init__(self, engine: Engine, clock: Clock, back_off: BackOff) -> None:
        super().__init__(engine.name, clock, back_off)
        self._engine = engine

    def _launch(self) -> None:
        self._engine.start()

    def _launch_again(self) -> None:
        self._engine.restart()

    def _exit_code(self) -> int | None:
        return self._engine.poll()

    def _end(self) -> None:
        self._engine.stop()

    def _pid(self) -> int | None:
        return self._engine.pid


class _RoleChild(_Child):
    def __init__(
        self, name: str, command: process.Command, stop_seconds: float, clock: Clock, back_off: BackOff
    ) -> None:
        super().__init__(name, clock, back_off)
        self.guard: process.Guard | None = None
        self._command = command
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: subprocess.Popen[bytes] | None = None

    def ask_to_stop(self) -> None:
        """Send SIGTERM at once, so that all roles stop side by side."""
        super().ask_to_stop()
        self._ask()

    def kill(self) -> None:
        """End it and all it has started, at once."""
        child = self._process
        if child is not None:
            process.signal_child(child, signal.SIGKILL, group=True)

    def _launch(self) -> None:
        if self._command.output is not None:
            files.open_log(self._command.output)
        self._process = process.start(self._command)
        if self.guard is not None:
            self.guard.watch(self._process.pid)

    def _launch_again(self) -> None:
        self._release()
        self._launch()

    def _exit_code(self) -> int | None:
        return self._process.poll() if self._process is not None else None

    def _end(self) -> None:
        if self._process is None:
            return
        self._ask()
        try:
            self._last_exit_code = self._process.wait(timeout=self._stop_seconds)
        except subprocess.TimeoutExpired:
            log.error("supervisor.child_killed", child=self.name, waited_seconds=self._stop_seconds)
            process.signal_child(self._process, signal.SIGKILL, group=True)
            self._last_exit_code = self._process.wait()
        self._release()

    def _ask(self) -> None:
        """Send SIGTERM once to each process; many programs take a second one for impatience."""
        child = self._process
        if child is not None and child is not self._asked:
            self._asked = child
            process.signal_child(child, signal.SIGTERM, group=False)

    def _release(self) -> None:
        """Kill what a dead role left behind and let the guard forget the group."""
        child, self._process = self._process, None
        if child is not None:
            process.signal_child(child, signal.SIGKILL, group=True)
            if self.guard is not None:
                self.guard.release(child.pid)

    def _pid(self) -> int | None:
        return self._process.pid if self._process is not None else None
