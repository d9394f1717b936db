from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from todoku.engines import binaries
from todoku.engines.checks import check_all, check_home, check_nats, check_ports, check_postgres
from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres
from todoku.kernel.clock import SystemClock
from todoku.kernel.health import Health, HealthState

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def running() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="todoku-doctor-"))
    folder.chmod(0o755)
    engines = EmbeddedNats(folder), EmbeddedPostgres(folder)
    try:
        for engine in engines:
            engine.start()
        yield folder
    finally:
        for engine in engines:
            engine.stop()
        shutil.rmtree(folder)


def by_name(facts: list[Health]) -> dict[str, Health]:
    return {fact.name: fact for fact in facts}


def test_a_sound_installation_has_nothing_to_do(running: Path) -> None:
    facts = by_name(check_all(running, CLOCK, listens={"web": ("127.0.0.1", 1)}))
    for name in (
        "home.writable",
        "port.web",
        "postgres.program",
        "nats-server.program",
        "postgres.reachable",
        "postgres.version",
        "postgres.durable",
        "postgres.clock",
        "nats.reachable",
        "nats.version",
        "nats.jetstream",
        "nats.durable",
    ):
        assert facts[name].state is HealthState.OK, facts[name]


def test_a_home_that_never_ran_is_unknown_not_broken(tmp_path: Path) -> None:
    facts = by_name(check_all(tmp_path, CLOCK))
    for name in ("postgres.reachable", "nats.reachable"):
        assert facts[name].state is HealthState.UNKNOWN
        assert "todoku serve" in facts[name].todo


def test_taken_port_names_its_owner(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        (fact,) = check_ports(tmp_path, {"smtp": ("127.0.0.1", port)}, CLOCK)
        assert fact.state is HealthState.FAILING
        assert f"process {os.getpid()}" in fact.detail
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "supervisor.lock").write_text(f"{os.getpid()}\n", encoding="ascii")
        (fact,) = check_ports(tmp_path, {"smtp": ("127.0.0.1", port)}, CLOCK)
        assert fact.state is HealthState.OK


def test_unsafe_postgres_setting_is_named(running: Path) -> None:
    url = (running / "run" / "postgres.url").read_text(encoding="utf-8")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter role todoku set synchronous_commit = off")
        try:
            durable = by_name(check_postgres(url, CLOCK))["postgres.durable"]
        finally:
            connection.execute("alter role todoku reset synchronous_commit")
    assert durable.state is HealthState.FAILING
    assert "synchronous_commit = off" in durable.detail
    assert "synchronous_commit = on" in durable.todo


def test_nats_without_sync_or_without_jetstream_is_named(tmp_path: Path) -> None:
    configuration = tmp_path / "nats.conf"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration.write_text(f"listen: 127.0.0.1:{port}\n", encoding="ascii")
    program = binaries.find(binaries.NATS)
    with subprocess.Popen([str(program), "-c", str(configuration), "-l", str(tmp_path / "log")]) as server:
        try:
            for _ in range(100):
                facts = by_name(check_nats(f"nats://127.0.0.1:{port}", CLOCK, configuration=configuration))
                if "nats.jetstream" in facts:
                    break
        finally:
            server.terminate()
    assert facts["nats.jetstream"].state is HealthState.FAILING
    assert facts["nats.durable"].state is HealthState.FAILING
    assert "2m" in facts["nats.durable"].detail


def test_servers_of_others_that_do_not_answer_are_failures(tmp_path: Path) -> None:
    (nats,) = check_nats("nats://127.0.0.1:9", CLOCK)
    assert nats.state is HealthState.FAILING
    assert "TODOKU_NATS_URL" in nats.todo
    (postgres,) = check_postgres("postgresql://todoku@127.0.0.1:9/todoku", CLOCK)
    assert postgres.state is HealthState.FAILING
    assert "TODOKU_DATABASE_URL" in postgres.todo


def test_home_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (fact,) = check_home(tmp_path / "file" / "home", CLOCK)
    assert fact.state is HealthState.FAILING
    assert "TODOKU_HOME" in fact.todo


def test_of_a_cluster_the_servers_that_do_not_answer_are_named(running: Path) -> None:
    url = (running / "run" / "nats.url").read_text(encoding="utf-8")
    nobody = "nats://todoku:secret@127.0.0.1:1"
    facts = by_name(check_nats(f"{url},{url.replace('127.0.0.1', 'localhost')},{nobody}", CLOCK))
    assert facts["nats.reachable"].state is HealthState.LATE
    assert facts["nats.reachable"].detail == "2 of 3 servers answer; not 127.0.0.1:1"
    assert facts["nats.jetstream"].state is HealthState.OK
    facts = by_name(check_nats(f"{url},{nobody},{nobody.replace(':1', ':2')}", CLOCK))
    assert facts["nats.reachable"].state is HealthState.FAILING
    assert "secret" not in facts["nats.reachable"].detail
