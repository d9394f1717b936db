from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from todoku.engines import binaries
from todoku.engines.errors import HomeBusy
from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres

SOURCE = Path(__file__).parents[3] / "src"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")

ORDINARY_USER_SCRIPT = """
import sys, pathlib, psycopg
from todoku.engines.postgres import EmbeddedPostgres
from todoku.engines.nats import EmbeddedNats
home = pathlib.Path(sys.argv[1])
engine, nats = EmbeddedPostgres(home), EmbeddedNats(home)
try:
    with psycopg.connect(engine.start()) as connection:
        print("as", connection.execute("select current_user").fetchone()[0])
    print("as", nats.start().partition(":")[0])
finally:
    engine.stop()
    nats.stop()
"""


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """Give one home to the tests that do not need a first start of their own, which takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="todoku-engines-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        connection.execute("create table if not exists kept (n int)")
        connection.execute("insert into kept values (1)")
        row = connection.execute("select count(*) from kept").fetchone()
        assert row is not None
        return int(row[0])


def test_first_start_makes_everything_and_a_kill_loses_nothing(shared_home: Path) -> None:
    engine = EmbeddedPostgres(shared_home)
    try:
        url = engine.start()
        assert (shared_home / "run" / "postgres.url").read_text(encoding="utf-8") == url
        assert rows(url) == 1
        assert engine.restart() == url
        assert rows(url) == 2
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        assert engine.restart() == url
        assert rows(url) == 3
    finally:
        engine.stop()


def test_settings_are_durable_and_nobody_else_gets_in(shared_home: Path) -> None:
    engine = EmbeddedPostgres(shared_home)
    try:
        url = engine.start()
        with psycopg.connect(url) as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute(f"show {name}").fetchone() == ("on",)
            assert connection.execute("show listen_addresses").fetchone() == ("",)
            assert connection.execute("show server_encoding").fetchone() == ("UTF8",)
            superuser = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
            assert superuser == (False,)
        assert url.endswith(str(shared_home / "run" / "postgres"))
        assert stat.S_IMODE((shared_home / "run" / "postgres").stat().st_mode) == 0o700
        with psycopg.connect(url.replace("todoku@", "postgres@").replace("/todoku?", "/postgres?")) as connection:
            methods = connection.execute("select type, auth_method from pg_hba_file_rules").fetchall()
        assert methods == [("local", "peer")]
    finally:
        engine.stop()


def test_one_home_only_once_and_two_homes_side_by_side(home: Path) -> None:
    other_home = Path(tempfile.mkdtemp(prefix="todoku-other-"))
    other_home.chmod(0o755)
    one, other = EmbeddedPostgres(home), EmbeddedPostgres(other_home)
    try:
        assert rows(one.start()) == 1
        with pytest.raises(HomeBusy, match=f"process {os.getpid()}"):
            EmbeddedPostgres(home).start()
        assert rows(other.start()) == 1
        assert rows(one.start()) == 2
    finally:
        one.stop()
        other.stop()
        shutil.rmtree(other_home)


def test_note_of_a_killed_postmaster_does_not_stop_the_next_one(shared_home: Path) -> None:
    engine = EmbeddedPostgres(shared_home)
    try:
        url = engine.start()
        before = rows(url)
        engine.stop()
        data = shared_home / "postgres" / "data"
        (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n\n\n1 1\nready   \n", encoding="ascii")
        assert engine.start() == url
        assert rows(url) == before + 1
    finally:
        engine.stop()


def test_half_made_data_of_a_killed_first_start_are_made_anew(home: Path) -> None:
    half = home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n", encoding="ascii")
    engine = EmbeddedPostgres(home)
    try:
        assert rows(engine.start()) == 1
        assert not half.exists()
    finally:
        engine.stop()


def test_long_path_still_has_a_socket(home: Path) -> None:
    long_home = home / ("x" * 100)
    long_home.mkdir()
    engine = EmbeddedPostgres(long_home)
    try:
        url = engine.start()
        assert rows(url) == 1
    finally:
        engine.stop()
    shutil.rmtree(url.partition("host=")[2])


def test_home_with_a_difficult_name(home: Path) -> None:
    difficult = home / "届く, \"house\" of 'one' & $two %20"
    difficult.mkdir()
    engine, nats = EmbeddedPostgres(difficult), EmbeddedNats(difficult)
    try:
        url = engine.start()
        assert rows(url) == 1
        assert nats.start().startswith("nats://")
        assert (difficult / "nats").is_dir()
    finally:
        engine.stop()
        nats.stop()
    shutil.rmtree(url.partition("host=")[2])


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """Give a folder that only root can enter; what is made outside because of it is removed after."""
    folder = Path(tempfile.mkdtemp(prefix="todoku-private-"))
    folder.chmod(0o700)
    before = {path for place in ("/var/lib", "/var/cache") for path in Path(place).glob("todoku-postgres/*")}
    yield folder
    for place in ("/var/lib", "/var/cache"):
        for path in set(Path(place).glob("todoku-postgres/*")) - before:
            shutil.rmtree(path)
    shutil.rmtree(folder)


@AS_ROOT
def test_root_with_home_and_venv_in_a_private_folder(private_folder: Path) -> None:
    program = binaries.find(binaries.POSTGRES)
    package = program.parents[2]
    site = private_folder / "venv" / "site-packages"
    shutil.copytree(package, site / package.name, symlinks=True, ignore=shutil.ignore_patterns("include", "pginstall"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, site / libraries.name, symlinks=True)
    home = private_folder / "home"
    setting = str(site / package.name / program.parent.parent.name / "bin")
    engine = EmbeddedPostgres(home, setting=setting)
    try:
        assert rows(engine.start()) == 1
        assert engine.pid is not None
        assert Path(f"/proc/{engine.pid}").stat().st_uid != 0
        assert not (home / "postgres").exists()
        place = Path((home / "postgres.location").read_text(encoding="utf-8"))
        assert (place / "data" / "PG_VERSION").exists()
        assert (place / "home").read_text(encoding="utf-8").strip() == str(home)
        engine.stop()
        assert rows(engine.start()) == 2
    finally:
        engine.stop()


@AS_ROOT
def test_postgres_runs_as_an_unprivileged_user_for_root(shared_home: Path) -> None:
    engine = EmbeddedPostgres(shared_home)
    try:
        engine.start()
        assert engine.pid is not None
        user = pwd.getpwuid(Path(f"/proc/{engine.pid}").stat().st_uid).pw_name
        assert user in {"todoku", "postgres", "nobody"}
        status = Path(f"/proc/{engine.pid}/status").read_text(encoding="ascii")
        assert "CapEff:\t0000000000000000" in status
    finally:
        engine.stop()


@AS_ROOT
def test_ordinary_user_needs_no_rights(home: Path) -> None:
    paths = [str(SOURCE), *[path for path in sys.path if "site-packages" in path]]
    python = reachable_python(os.pathsep.join(paths))
    nobody = pwd.getpwnam("nobody")
    user_home = home / "home-of-user"
    user_home.mkdir(mode=0o700)
    os.chown(user_home, nobody.pw_uid, nobody.pw_gid)
    answer = subprocess.run(
        [python, "-c", ORDINARY_USER_SCRIPT, str(user_home)],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        env={
            "PYTHONPATH": os.pathsep.join(paths),
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert [line for line in answer.stdout.splitlines() if line.startswith("as ")] == ["as todoku", "as nats"]
    assert (user_home / "postgres" / "data" / "PG_VERSION").stat().st_uid == nobody.pw_uid


def reachable_python(python_path: str) -> str:
    """Return a Python of our version that an ordinary user can run with these paths.

    Ours may lie in root's private folder, and so may the checkout with its environment; then there is none.
    """
    nobody = pwd.getpwnam("nobody")
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            subprocess.run(
                [candidate, "-c", "import psycopg, todoku"],
                user=nobody.pw_uid,
                group=nobody.pw_gid,
                extra_groups=[],
                cwd="/",
                env={"PYTHONPATH": python_path, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
                stderr=subprocess.DEVNULL,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    pytest.skip("an ordinary user can't walk to this checkout or its Python")
