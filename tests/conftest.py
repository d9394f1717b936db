"""Fixtures for every kind of test: a virtual clock, a real PostgreSQL, a real JetStream.

Engines are started once a run by `todoku.engines`, in a temporary home, unless TODOKU_TEST_NATS_URL and
TODOKU_TEST_DATABASE_URL name running ones.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from todoku.kernel.clock import VirtualClock

_HOME = Path(tempfile.mkdtemp(prefix="todoku-test-"))
_HOME.chmod(0o755)  # the embedded PostgreSQL runs as another user when the tests run as root
os.environ["TODOKU_HOME"] = str(_HOME)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todoku.config.django_settings")


def pytest_configure() -> None:
    import django

    django.setup()


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Callable[[], Path]]:
    """Make folders that others may walk through: the embedded PostgreSQL is another user when we are root.

    Not below pytest's own folder: each run of pytest closes that to others again, also under a run beside it.
    """
    base = Path(tempfile.mkdtemp(prefix="todoku-homes-"))
    base.chmod(0o755)
    numbers = itertools.count()

    def make() -> Path:
        folder = base / str(next(numbers))
        folder.mkdir(mode=0o755)
        return folder

    yield make
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime(2026, 11, 21, 3, 0, tzinfo=UTC))


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    given = os.environ.get("TODOKU_TEST_NATS_URL")
    if given:
        yield given
        return
    from todoku.engines.nats import EmbeddedNats

    engine = EmbeddedNats(_HOME)
    try:
        yield engine.start()
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    given = os.environ.get("TODOKU_TEST_DATABASE_URL")
    if given:
        yield given
        return
    from todoku.engines.postgres import EmbeddedPostgres

    engine = EmbeddedPostgres(_HOME)
    try:
        yield engine.start()
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def migrated_database(database_url: str) -> Iterator[None]:
    from dataclasses import replace

    from django.core.management import call_command
    from django.db import connection, connections

    from todoku.config.settings import load_settings

    description = replace(load_settings(), database_url=database_url).django_database()
    connections["default"].settings_dict.update(description)
    call_command("migrate", verbosity=0, interactive=False)
    yield
    connection.close()


@pytest.fixture
def database(migrated_database: None) -> Iterator[None]:
    """Give a migrated, empty database; rows are truncated before each test."""
    from asgiref.sync import SyncToAsync
    from django.db import connection, connections

    # Async views keep a connection on asgiref's own thread; one that another test had cut would fail here.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if name != "django_migrations"]
        cursor.execute("TRUNCATE " + ", ".join(f'"{name}"' for name in tables) + " RESTART IDENTITY CASCADE")
    yield
    connection.close()
