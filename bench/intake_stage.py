"""The installation that bench/intake.py measures: engines, roles in processes of their own, one project."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

START_WITHIN_SECONDS = 60.0
RUN_ROLE = """
import sys
from todoku.config.logging import set_up_logging
from todoku.config.roles import run_roles
from todoku.config.settings import load_settings
set_up_logging()
run_roles(sys.argv[1:], load_settings())
"""  # as `todoku run ROLE` does


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def engines(home: Path, database_url: str, nats_url: str) -> Iterator[tuple[str, str]]:
    """Give (database URL, NATS URL): the ones named, or embedded ones in the home."""
    if database_url and nats_url:
        yield database_url, nats_url
        return
    from todoku.engines.nats import EmbeddedNats
    from todoku.engines.postgres import EmbeddedPostgres

    postgres, nats = EmbeddedPostgres(home), EmbeddedNats(home)
    try:
        yield postgres.start(), nats.start()
    finally:
        nats.stop()
        postgres.stop()


@contextlib.contextmanager
def roles(home: Path, names: list[str]) -> Iterator[list[tuple[str, int]]]:
    """Run each role in a process of its own and give (name, pid) of each; stop them at the end."""
    processes = []
    try:
        for number, name in enumerate(names):
            with (home / f"{name}{number}.log").open("wb") as log:
                command = [sys.executable, "-c", RUN_ROLE, name]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        yield [(name, process.pid) for name, process in zip(names, processes, strict=True)]
    except BaseException:
        for path in home.glob("*.log"):
            sys.stderr.write(f"---- end of {path.name}\n{path.read_text()[-3_000:]}\n")
        raise
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


def prepare_project() -> tuple[str, str]:
    """Make tables, a project and one intake address; return project id and local part."""
    from todoku.config.django_setup import migrate

    migrate()
    from todoku.kernel.clock import SystemClock
    from todoku.projects import services
    from todoku.projects.types import ProjectInfo

    clock = SystemClock()
    project_id = f"bench-{uuid4().hex[:12]}"
    services.save_project(
        ProjectInfo(
            id=project_id,
            name="Bench",
            time_zone="Asia/Tokyo",
            sender_name="Bench",
            sender_address="bench@example.com",
            postal_address="1-1 Example",
            contact="03-0000-0000",
        ),
        clock=clock,
    )
    address = services.create_intake_address(project_id, shop_code=None, site=None, clock=clock)
    return project_id, address.local_part


async def open_port(port: int, what: str) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + START_WITHIN_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not start; look at its log in the home") from None
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
