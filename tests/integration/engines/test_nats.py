from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from todoku.bus.connection import Bus
from todoku.engines.errors import HomeBusy
from todoku.engines.nats import EmbeddedNats


async def stored(url: str, payload: bytes) -> int:
    bus = await Bus.connect(url, name="test", wait_seconds=5)
    try:
        await bus.declare()
        return await bus.publish("event.p.kind", payload)
    finally:
        await bus.close()


async def test_it_comes_back_on_the_same_port_with_what_it_had(home: Path) -> None:
    engine = EmbeddedNats(home)
    try:
        url = engine.start()
        assert await stored(url, b"one") == 1
        assert engine.restart() == url
        assert await stored(url, b"two") == 2
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        assert engine.restart() == url
        assert await stored(url, b"three") == 3
    finally:
        engine.stop()


def test_url_and_secret_are_private_and_the_server_listens_on_loopback_only(home: Path) -> None:
    engine = EmbeddedNats(home)
    try:
        url = engine.start()
        assert (home / "run" / "nats.url").read_text(encoding="utf-8") == url
        for name in ("nats.url", "nats.conf", "nats.secret"):
            assert stat.S_IMODE((home / "run" / name).stat().st_mode) == 0o600
        port = int(url.rpartition(":")[2])
        listening = Path("/proc/net/tcp").read_text(encoding="ascii")
        assert f"0100007F:{port:04X} 00000000:0000 0A" in listening
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
            assert b"Authorization Violation" in stranger.recv(4096) + stranger.recv(4096)
    finally:
        engine.stop()


def test_two_homes_run_side_by_side_and_one_home_only_once(home: Path, tmp_path: Path) -> None:
    one, other = EmbeddedNats(home), EmbeddedNats(tmp_path)
    try:
        assert one.start() != other.start()
        with pytest.raises(HomeBusy, match=f"process {os.getpid()}"):
            EmbeddedNats(home).start()
        assert one.poll() is None
    finally:
        one.stop()
        other.stop()


def test_a_taken_port_is_given_up_for_another(home: Path) -> None:
    engine = EmbeddedNats(home)
    try:
        first = engine.start()
        engine.stop()
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", int(first.rpartition(":")[2])))
            squatter.listen()
            assert engine.start() != first
    finally:
        engine.stop()
