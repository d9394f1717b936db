"""NATS JetStream as a child process."""

from __future__ import annotations

import hashlib
import json
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import structlog

from todoku.engines import binaries, files, process
from todoku.engines.embedded import EmbeddedEngine
from todoku.engines.errors import EngineFailed

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 20_000, 10_000  # below the ports that Linux gives to outgoing connections
START_SECONDS = 60.0
READY_POLL_SECONDS = 0.01
STOP_STEPS = ((signal.SIGTERM, 15.0),)

_CONFIGURATION = """\
# Written by Todoku at every start; changes are lost.
server_name: {name}
listen: {host}:{port}
max_payload: 8MB
max_pending: 256MB
log_file: {log}
log_size_limit: 20MB
authorization {{ user: todoku, password: {password} }}
jetstream {{
  store_dir: {store}
  sync_interval: always
}}
"""


class EmbeddedNats(EmbeddedEngine):
    """NATS JetStream in `<home>/nats`, on a loopback port of its own, with a secret; durable before each ack.

    home: folder of all data, made when missing. setting: see `binaries.find`. The port stays the same over restarts
    while it is free, so that clients come back by themselves. After a kill -9 every acknowledged message is there.
    """

    name = "nats"
    title = "NATS"
    program_name = binaries.NATS
    stop_steps = STOP_STEPS

    def start(self) -> str:
        """Start and wait until it answers; return the URL, also written to `<home>/run/nats.url` (mode 0600).

        Raises BinaryMissing, HomeBusy, EngineFailed (with the end of its log).
        """
        if self._child is not None and self._child.poll() is None:
            return self._url(files.read_or_empty(self._run / "nats.port"))
        program = binaries.find(binaries.NATS, self._setting)
        self._run.mkdir(parents=True, exist_ok=True)
        store = self.home / "nats"
        store.mkdir(mode=0o700, exist_ok=True)
        files.open_log(self._log)
        if self._lock.descriptor < 0:
            self._lock.acquire()
        try:
            for port in self._free_ports():
                url = self._try_start(program, store, port)
                if url:
                    return url
        except BaseException:
            self.stop()
            raise
        self.stop()
        raise EngineFailed("NATS found no free port on the loopback address", todo="free some ports")

    def _try_start(self, program: Path, store: Path, port: int) -> str:
        """Start on this port; return "" when somebody took the port in between."""
        server_name = f"todoku-{secrets.token_hex(8)}"
        configuration = self._run / "nats.conf"
        files.write_private(
            configuration,
            _CONFIGURATION.format(
                name=server_name,
                host=HOST,
                port=port,
                log=_quoted(str(self._log)),
                password=_quoted(self._password()),
                store=_quoted(str(store)),
            ),
        )
        log_start = files.size(self._log)
        child = process.start(
            process.Command(
                argv=(str(program), "-c", str(configuration)),
                death_signal=signal.SIGTERM,
                output=self._log,
                keep_open=(self._lock.descriptor,),
            )
        )
        self._child = child
        deadline = self._clock.monotonic_seconds() + START_SECONDS
        while not _answers(port, server_name):
            code = _wait(child, READY_POLL_SECONDS)
            if code is None and self._clock.monotonic_seconds() < deadline:
                continue
            told = files.tail(self._log, log_start)
            if code is not None and "address already in use" in told:
                return ""
            raise EngineFailed(
                f"NATS did not start (exit code {code}): {told or 'its log is empty'}",
                kept=f"its data in {store}",
                todo=f"read {self._log}",
            )
        url = self._url(str(port))
        files.write_private(self._run / "nats.port", str(port))
        files.write_private(self._run / "nats.url", url)
        log.info("engine.started", engine=self.name, pid=child.pid, port=port, program=str(program))
        return url

    def _free_ports(self) -> Iterator[int]:
        """Give ports that are free now: the last one first, then from a place of this home's own on."""
        last = files.read_or_empty(self._run / "nats.port")
        if last.isdigit() and _is_free(int(last)):
            yield int(last)
        start = int.from_bytes(hashlib.sha256(str(self.home).encode()).digest()[:4], "big")
        for step in range(PORTS):
            port = FIRST_PORT + (start + step) % PORTS
            if _is_free(port):
                yield port

    def _password(self) -> str:
        path = self._run / "nats.secret"
        known = files.read_or_empty(path)
        if not known:
            known = secrets.token_urlsafe(24)
            files.write_private(path, known)
        return known

    def _url(self, port: str) -> str:
        return f"nats://todoku:{self._password()}@{HOST}:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _answers(port: int, server_name: str) -> bool:
    """Tell whether our own server greets on this port; it does so after JetStream has recovered."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            greeting = connection.makefile("rb").readline()
    except OSError:
        return False
    return greeting.startswith(b"INFO ") and server_name.encode() in greeting


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _quoted(text: str) -> str:
    """Write a string as NATS reads it: JSON's quotes and escapes, but no \\u."""
    return json.dumps(text, ensure_ascii=False)
