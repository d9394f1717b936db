"""One installation on this machine: engines first, tables, then the role processes; ended in the opposite order.

Purpose     `todoku serve` and `todoku demo`: everything of one home, kept alive by the supervisor of `todoku.engines`.
Reads       settings; `<home>/run/schema`, which says for which tables the embedded database was last made ready.
Writes      `<home>/logs/`, one file a process.
Guarantees  an engine or role that dies is started again with back-off; when this process ends, by whatever cause,
            nothing of it stays behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import structlog

import todoku
from todoku.config.settings import Listen, Settings
from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres
from todoku.engines.supervisor import Supervisor
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.errors import TodokuError

log = structlog.get_logger(__name__)

ROLE_PROCESSES = (("intake",), ("send",), ("read", "book", "plan"), ("web",))
READY_WITHIN_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.05
PORTS_TO_TRY = 50


class NotReady(TodokuError):
    """A role did not open its door in time; its log says why."""

    transient = True


class Installation:
    """Start with `with`, stop by leaving the block; SIGTERM and SIGHUP leave it like Ctrl-C does."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._supervisor = Supervisor(settings.home, clock=self._clock)
        if not settings.database_url:
            self._supervisor.add_engine(EmbeddedPostgres(settings.home))
        if not settings.nats_url:
            self._supervisor.add_engine(EmbeddedNats(settings.home))

    def __enter__(self) -> Installation:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants SIGHUP ignored
                signal.signal(number, signal.default_int_handler)
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self._supervisor.start()
        try:
            self._make_tables()
        except BaseException:
            self._supervisor.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()

    def add_process(self, name: str, argv: Sequence[str]) -> None:
        """Keep a command alive beside the roles, with the installation's settings in its environment."""
        self._supervisor.add_role(
            name,
            argv,
            environment={**os.environ, **self.settings.environment()},
            log_path=self.settings.home / "logs" / f"{name}.log",
        )

    def start_roles(self) -> None:
        """Start every role process; returns once they run, which is before their doors are open."""
        for roles in ROLE_PROCESSES:
            self.add_process("-".join(roles), [sys.executable, "-m", "todoku.cli.main", "run", *roles])
        self._supervisor.start_roles()

    def wait_until_ready(self) -> None:
        """Return when pages and SMTP door answer; raises NotReady, naming the log to read."""
        deadline = self._clock.monotonic_seconds() + READY_WITHIN_SECONDS
        for name, address in (("web", self.settings.web_listen), ("intake", self.settings.smtp_listen)):
            while not _answers(address):
                if self._clock.monotonic_seconds() > deadline:
                    raise NotReady(
                        f"the role {name} does not answer at {address}",
                        kept="everything; the other roles go on",
                        todo=f"read {self.settings.home / 'logs' / f'{name}.log'} or run todoku doctor",
                    )
                signal.sigtimedwait((), LOOK_EVERY_SECONDS)

    def wait(self) -> None:
        """Stay until Ctrl-C, SIGTERM or SIGHUP."""
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            log.info("installation.stopping")

    def _make_tables(self) -> None:
        marker = self.settings.home / "run" / "schema"
        wanted = _schema_fingerprint()
        embedded = not self.settings.database_url
        if embedded and marker.exists() and marker.read_text(encoding="ascii") == wanted:
            return
        from todoku.config.django_setup import migrate

        migrate()
        if embedded:
            marker.write_text(wanted, encoding="ascii")


def first_free(address: Listen) -> Listen:
    """Return the address, or the next one whose port is free, and keep it for this process.

    A lock file keeps it, because another home that starts at the same moment would find the same port free: nobody
    listens there until the role has started. Raises NotReady after PORTS_TO_TRY.
    """
    for port in range(address.port, address.port + PORTS_TO_TRY):
        if _reserve(port) and not _answers(Listen(address.host, port)):
            return Listen(address.host, port)
    raise NotReady(
        f"no free port from {address.port} on at {address.host}", todo="end what listens there, or set another"
    )


_reserved: list[int] = []  # open descriptors; the locks end with the process


def _reserve(port: int) -> bool:
    path = Path(tempfile.gettempdir()) / f"todoku-port-{port}-{os.geteuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _reserved.append(descriptor)
    return True


def _answers(address: Listen) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=1.0):
            return True
    except OSError:
        return False


def _schema_fingerprint() -> str:
    package = Path(todoku.__file__).parent
    names = sorted(str(path.relative_to(package)) for path in package.glob("**/migrations/*.py"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
