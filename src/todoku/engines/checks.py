"""What `todoku doctor` asks of the machine and the engines; each answer says what to do.

All functions are synchronous, change nothing but a probe file in the home, and answer within seconds: what does not
answer is a fact, not an exception.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from todoku.engines import binaries, files, ports
from todoku.engines.checks_nats import check_nats
from todoku.engines.checks_postgres import check_postgres
from todoku.engines.errors import BinaryMissing
from todoku.engines.postgres_place import SYSTEM_DATA
from todoku.kernel.clock import Clock
from todoku.kernel.health import Health, HealthState

__all__ = [
    "check_all",
    "check_binaries",
    "check_disk",
    "check_home",
    "check_left_data",
    "check_nats",
    "check_ports",
    "check_postgres",
]

GIB = 1024**3
FULL_BYTES, FULL_SHARE = GIB // 4, 0.01
NEARLY_FULL_BYTES, NEARLY_FULL_SHARE = 2 * GIB, 0.05


def check_all(
    home: Path,
    clock: Clock,
    *,
    database_url: str = "",
    nats_url: str = "",
    listens: Mapping[str, tuple[str, int]] | None = None,
) -> list[Health]:
    """Return every fact about home, disk, ports and engines; "" as a URL means the embedded engine of this home.

    listens: what each of our doors is called, and its host and port.
    """
    home = home.absolute()
    facts = [
        *check_home(home, clock),
        *check_disk(home, clock),
        *check_left_data(clock),
        *check_ports(home, listens or {}, clock),
    ]
    embedded = [binaries.POSTGRES] * (not database_url) + [binaries.NATS] * (not nats_url)
    facts += check_binaries(embedded, clock)
    postgres_url = database_url or files.read_or_empty(home / "run" / "postgres.url")
    facts += check_postgres(postgres_url, clock, embedded=not database_url)
    configuration = None if nats_url else home / "run" / "nats.conf"
    facts += check_nats(nats_url or files.read_or_empty(home / "run" / "nats.url"), clock, configuration=configuration)
    return facts


def check_home(home: Path, clock: Clock) -> list[Health]:
    """Tell whether we can keep things in the home: a file is written, fsynced and removed."""
    name, now = "home.writable", clock.now_utc()
    probe = home / f".doctor.{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        files.write_private(probe, "probe")
        probe.unlink()
    except OSError as error:
        return [
            Health(
                name,
                HealthState.FAILING,
                f"{home} can't be written: {error.strerror or error}",
                now,
                f"give it to this user (`chown {os.geteuid()} {home}`) or choose another with TODOKU_HOME",
            )
        ]
    return [Health(name, HealthState.OK, str(home), now)]


def check_disk(home: Path, clock: Clock) -> list[Health]:
    """Tell how full the disks of the home, and of a database that lies elsewhere, are: bytes and file entries."""
    places = [home]
    elsewhere = files.read_or_empty(home / "postgres.location")
    if elsewhere:
        places.append(Path(elsewhere))
    facts: list[Health] = []
    for place in places:
        existing = next((part for part in (place, *place.parents) if part.exists()), Path("/"))
        status = os.statvfs(existing)
        facts.append(disk_health(place, status, clock))
    return facts


def disk_health(place: Path, status: os.statvfs_result, clock: Clock) -> Health:
    """Judge one file system by what is free for us."""
    name, now = "disk.free", clock.now_utc()
    free, whole = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    detail = f"{free / GIB:.1f} GiB of {whole / GIB:.1f} GiB free at {place}"
    todo = "free space, or move the home to a larger disk: a full disk refuses mail"
    if free < FULL_BYTES or free < whole * FULL_SHARE:
        return Health(name, HealthState.FAILING, f"full: {detail}", now, todo)
    if status.f_files and status.f_favail < status.f_files * FULL_SHARE:
        return Health(name, HealthState.FAILING, f"{status.f_favail:,} file entries left at {place}", now, todo)
    if free < NEARLY_FULL_BYTES or free < whole * NEARLY_FULL_SHARE:
        return Health(name, HealthState.LATE, f"nearly full: {detail}", now, todo)
    return Health(name, HealthState.OK, detail, now)


def check_left_data(clock: Clock, folder: Path = SYSTEM_DATA) -> list[Health]:
    """Tell of databases outside their homes (see `postgres_place`) whose home is gone or has others by now."""
    facts: list[Health] = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        home = files.read_or_empty(place / "home")
        if home and files.read_or_empty(Path(home) / "postgres.location") != str(place):
            detail = f"{place} holds the database of {home}, which knows nothing of it"
            todo = f"if that home was removed on purpose, remove {place} too"
            facts.append(Health("postgres.left_data", HealthState.LATE, detail, clock.now_utc(), todo))
    return facts


def check_ports(home: Path, listens: Mapping[str, tuple[str, int]], clock: Clock) -> list[Health]:
    """Tell of each of our doors whether its port is free, ours already, or somebody else's."""
    supervisor = files.read_or_empty(home / "run" / "supervisor.lock")
    facts: list[Health] = []
    for door, (host, port) in listens.items():
        name, now = f"port.{door}", clock.now_utc()
        owner = ports.listener(port)
        if owner is None:
            facts.append(Health(name, HealthState.OK, f"{host}:{port} is free", now))
        elif supervisor.isdigit() and owner.pid and ports.is_below(owner.pid, int(supervisor)):
            facts.append(Health(name, HealthState.OK, f"{host}:{port} is open, {owner} of this Todoku", now))
        else:
            todo = f"stop that one, or choose another port for {door} in the settings"
            facts.append(Health(name, HealthState.FAILING, f"{host}:{port} is taken by {owner}", now, todo))
    return facts


def check_binaries(names: list[str], clock: Clock) -> list[Health]:
    """Tell which program would be started for each embedded engine, and that its version suits."""
    facts: list[Health] = []
    for name in names:
        try:
            path = binaries.find(name, os.environ.get(binaries.SETTING_NAMES[name]))
        except BinaryMissing as error:
            facts.append(Health(f"{name}.program", HealthState.FAILING, error.what, clock.now_utc(), error.todo))
        else:
            found = ".".join(str(part) for part in binaries.version(path))
            facts.append(Health(f"{name}.program", HealthState.OK, f"{found} at {path}", clock.now_utc()))
    return facts
