"""Facts about a PostgreSQL: reachable, version, durable, clock."""

from __future__ import annotations

from datetime import datetime

import psycopg

from todoku.engines import binaries
from todoku.engines.skew import skew_health
from todoku.kernel.clock import Clock
from todoku.kernel.health import Health, HealthState

_DURABLE = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "remote_apply", "remote_write", "local"},
}


def check_postgres(url: str, clock: Clock, *, embedded: bool = False) -> list[Health]:
    """Ask the server; url "" = an embedded one that never ran.

    An embedded one may well be stopped now; another's server that does not answer is a failure.
    """
    if not url:
        return [_not_there("it never ran in this home", HealthState.UNKNOWN, clock)]
    before = clock.now_utc()
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            before = clock.now_utc()
            row = connection.execute("select clock_timestamp()").fetchone()
            after = clock.now_utc()
            settings: dict[str, str] = dict(
                connection.execute(
                    "select name, setting from pg_settings where name = any(%s)", (["server_version", *_DURABLE],)
                ).fetchall()
            )
    except psycopg.OperationalError as error:
        state = HealthState.UNKNOWN if embedded else HealthState.FAILING
        return [_not_there(str(error).strip().splitlines()[0], state, clock)]
    server_time = row[0] if row is not None else None
    facts = [
        Health("postgres.reachable", HealthState.OK, "it answers", clock.now_utc()),
        _version(settings["server_version"], clock),
        _durability(settings, clock),
    ]
    if isinstance(server_time, datetime):
        facts.append(skew_health("postgres.clock", server_time, before, after))
    return facts


def _not_there(why: str, state: HealthState, clock: Clock) -> Health:
    todo = "start it with `todoku serve`, or read <home>/logs/postgres.log"
    if state is HealthState.FAILING:
        todo = "correct TODOKU_DATABASE_URL, or look after that server and the network"
    return Health("postgres.reachable", state, f"PostgreSQL does not answer: {why}", clock.now_utc(), todo)


def _version(text: str, clock: Clock) -> Health:
    if binaries.read_version(text) >= binaries.MINIMUM[binaries.POSTGRES]:
        return Health("postgres.version", HealthState.OK, text, clock.now_utc())
    todo = "upgrade it to 16 or later"
    return Health("postgres.version", HealthState.FAILING, f"{text} is too old", clock.now_utc(), todo)


def _durability(settings: dict[str, str], clock: Clock) -> Health:
    unsafe = [f"{name} = {settings.get(name)}" for name, good in _DURABLE.items() if settings.get(name) not in good]
    if not unsafe:
        return Health("postgres.durable", HealthState.OK, "commits reach the disk", clock.now_utc())
    detail = f"{', '.join(unsafe)}: a power cut can lose what was committed"
    todo = f"set {', '.join(f'{line.split()[0]} = on' for line in unsafe)} in postgresql.conf and reload"
    return Health("postgres.durable", HealthState.FAILING, detail, clock.now_utc(), todo)
