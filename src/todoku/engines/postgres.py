"""PostgreSQL as a child process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg
import structlog
from psycopg import sql

from todoku.engines import binaries, files, postgres_place, process
from todoku.engines.accounts import Account, own_name, unprivileged_account
from todoku.engines.embedded import EmbeddedEngine
from todoku.engines.errors import BinaryMissing, EngineFailed
from todoku.engines.postgres_place import Place

log = structlog.get_logger(__name__)

ADMINISTRATOR = "postgres"
USER = "todoku"
DATABASE = "todoku"
START_SECONDS = 120.0  # recovery after a crash replays at most max_wal_size
READY_POLL_SECONDS = 0.01
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
STOP_STEPS = ((FAST, 30.0), (IMMEDIATE, 10.0))

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
    "logging_collector": "off",
    "log_destination": "stderr",
    "external_pid_file": "",
}


class EmbeddedPostgres(EmbeddedEngine):
    """PostgreSQL in `<home>/postgres` behind a Unix socket of mode 0700, with database and user `todoku`.

    home: folder of all data, made when missing. setting: see `binaries.find`. As root it runs as another user (see
    `accounts`). After a kill -9 every committed transaction is there: the next start recovers from the log.
    """

    name = "postgres"
    title = "PostgreSQL"
    program_name = binaries.POSTGRES
    stop_steps = STOP_STEPS

    def start(self) -> str:
        """Start, make data and user at the first time, wait until it answers; return the URL.

        The URL is also written to `<home>/run/postgres.url` (mode 0600).
        Raises BinaryMissing, HomeBusy, EngineFailed (with the end of its log).
        """
        if self._child is not None and self._child.poll() is None:
            return files.read_or_empty(self._run / "postgres.url")
        account = unprivileged_account()
        own = own_name()
        self._run.mkdir(parents=True, exist_ok=True)
        files.open_log(self._log)
        if self._lock.descriptor < 0:
            self._lock.acquire()
        try:
            place = postgres_place.prepare(self.home, account)
            program = self._program(place, account)
            if not (place.data / "PG_VERSION").exists():
                self._initialise(program, place, account)
            self._write_access(place, own, account)
            _remove_stale_pid(place.data)
            url = self._launch(program, place, account)
        except BaseException:
            self.stop()
            raise
        files.write_private(self._run / "postgres.url", url)
        return url

    def _program(self, place: Place, account: Account | None) -> Path:
        """Choose the program that suits the data that are there, and make it reachable."""
        written = files.read_or_empty(place.data / "PG_VERSION")
        for candidate in binaries.candidates(binaries.POSTGRES, self._setting):
            if not written or str(binaries.version(candidate)[0]) == written:
                return postgres_place.reachable_program(candidate, account)
        raise BinaryMissing(
            f"the data in {place.data} were written by PostgreSQL {written}, and no program of that version is here",
            kept="the data, untouched",
            todo=f"set {binaries.SETTING_NAMES[binaries.POSTGRES]} to one, or use pg_upgrade",
        )

    def _initialise(self, program: Path, place: Place, account: Account | None) -> None:
        """Make the data folder aside and give it its name when it is complete and on disk."""
        aside = place.base / "data.new"
        if aside.exists():
            shutil.rmtree(aside)
        postgres_place.make_owned(aside, account)
        log_start = files.size(self._log)
        major = binaries.version(program)[0]
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if major >= 17 else ()
        child = process.start(
            process.Command(
                argv=(
                    str(program.with_name("initdb")),
                    f"--pgdata={aside}",
                    f"--username={ADMINISTRATOR}",
                    "--encoding=UTF8",
                    "--locale=C",
                    *locale,
                    "--auth=peer",
                    "--data-checksums",
                    "--no-instructions",
                ),
                death_signal=signal.SIGKILL,
                account=account,
                environment=_environment(program),
                output=self._log,
                keep_open=(self._lock.descriptor,),
            )
        )
        code = child.wait()
        if code != 0:
            raise EngineFailed(
                f"PostgreSQL could not make its data folder (exit code {code}): {files.tail(self._log, log_start)}",
                kept="nothing was there before",
                todo=f"read {self._log}; look at space and rights of {place.base}",
            )
        place.data.parent.mkdir(exist_ok=True)
        aside.rename(place.data)
        descriptor = os.open(place.base, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        log.info("engine.initialised", engine=self.name, data=str(place.data))

    def _write_access(self, place: Place, own: str, account: Account | None) -> None:
        """Say who may connect: the kernel tells PostgreSQL who is at the other end of the socket (peer).

        These files lie in a folder of ours, not in PostgreSQL's: as root we never write where another user could
        have put a link.
        """
        names = sorted({own, "root", *([account.name] if account is not None else [])})
        lines = [f"todoku {_quoted(name)} {user}" for name in names for user in (USER, ADMINISTRATOR)]
        files.write_private(place.base / "pg_ident.conf", "\n".join(lines) + "\n", mode=0o644)
        files.write_private(place.base / "pg_hba.conf", "local all all peer map=todoku\n", mode=0o644)

    def _launch(self, program: Path, place: Place, account: Account | None) -> str:
        settings = _SETTINGS | {
            "unix_socket_directories": _quoted(str(place.sockets)),
            "hba_file": str(place.base / "pg_hba.conf"),
            "ident_file": str(place.base / "pg_ident.conf"),
        }
        deadline = self._clock.monotonic_seconds() + START_SECONDS
        while True:
            log_start = files.size(self._log)
            child = process.start(
                process.Command(
                    argv=(
                        str(program),
                        "-D",
                        str(place.data),
                        *(
                            part
                            for key, value in settings.items()
                            if value or key == "listen_addresses"
                            for part in ("-c", f"{key}={value}")
                        ),
                    ),
                    death_signal=IMMEDIATE,
                    account=account,
                    environment=_environment(program),
                    output=self._log,
                    keep_open=(self._lock.descriptor,),
                )
            )
            self._child = child
            code = self._await_ready(child, place.data, deadline)
            if code is None:
                break
            told = files.tail(self._log, log_start)
            if "pre-existing shared memory block" in told and self._clock.monotonic_seconds() < deadline:
                _wait(child, 0.2)  # processes of a killed postmaster are still ending
                continue
            raise EngineFailed(
                f"PostgreSQL did not start (exit code {code}): {told or 'its log is empty'}",
                kept=f"its data in {place.data}",
                todo=f"read {self._log}",
            )
        _make_user_and_database(place)
        log.info(
            "engine.started",
            engine=self.name,
            pid=child.pid,
            program=str(program),
            user=account.name if account is not None else own_name(),
        )
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(place.sockets), safe='/')}"

    def _await_ready(self, child: subprocess.Popen[bytes], data: Path, deadline: float) -> int | None:
        """Return None when it takes connections, its exit code when it ended first."""
        while not _is_ready(data, child.pid):
            code = _wait(child, READY_POLL_SECONDS)
            if code is not None:
                return code
            if self._clock.monotonic_seconds() > deadline:
                raise EngineFailed(
                    f"PostgreSQL was not ready within {START_SECONDS:g} s",
                    kept=f"its data in {data}",
                    todo=f"read {self._log}; a long recovery after a crash is told there",
                )
        return None


def _is_ready(data: Path, process_id: int) -> bool:
    """Read the postmaster's own word: line 1 of postmaster.pid is its number, line 8 its state."""
    lines = files.read_or_empty(data / "postmaster.pid").splitlines()
    return len(lines) >= 8 and lines[0] == str(process_id) and lines[7].strip() == "ready"


def _remove_stale_pid(data: Path) -> None:
    """Remove the note of a killed postmaster when its number belongs to a stranger by now.

    PostgreSQL would take the stranger for the old one and refuse to start (always so in a container, where numbers
    begin anew). Whether processes of the old one are left it finds out by its shared memory, note or no note.
    """
    path = data / "postmaster.pid"
    lines = files.read_or_empty(path).splitlines()
    if not lines or not lines[0].lstrip("-").isdigit():
        return
    process_id = abs(int(lines[0]))
    try:
        working_folder = Path(f"/proc/{process_id}/cwd").readlink()
    except FileNotFoundError:
        return
    except OSError:
        working_folder = Path()
    if working_folder != data.resolve():
        path.unlink(missing_ok=True)
        return
    raise EngineFailed(
        f"a PostgreSQL that this Todoku did not start (process {process_id}) uses {data}",
        kept="everything; nothing was started",
        todo="stop it with pg_ctl",
        transient=False,
    )


def _make_user_and_database(place: Place) -> None:
    """Make what is missing; PostgreSQL has no `if not exists` for either."""
    with psycopg.connect(
        host=str(place.sockets), user=ADMINISTRATOR, dbname="postgres", autocommit=True, connect_timeout=10
    ) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", (USER,)).fetchone():
            connection.execute(sql.SQL("create role {} login createdb").format(sql.Identifier(USER)))
        if not connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone():
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(DATABASE), sql.Identifier(USER))
            )


def _environment(program: Path) -> dict[str, str]:
    """Return a small environment: PG* variables of ours must not steer the server."""
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
