"""Senders killed and paused at random moments; the relay's own count is the judge.

TODOKU_CHAOS_SEED repeats one round, TODOKU_CHAOS_ROUNDS makes more of them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.integration.delivery.delivery_world import CLOCK, journal, outcomes, seal_and_post, settled, until

from todoku.bus.connection import Bus
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.types import RecipientState

CONNECTIONS, DEPTH = 5, 8
IN_FLIGHT = CONNECTIONS * DEPTH  # of a sender whose relay takes BDAT; by DATA one message a connection
PROGRAM = Path(__file__).with_name("sender_process.py")
SEEDS = (
    [int(os.environ["TODOKU_CHAOS_SEED"])]
    if "TODOKU_CHAOS_SEED" in os.environ
    else list(range(int(os.environ.get("TODOKU_CHAOS_ROUNDS", "3"))))
)

StartSender = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
async def relay(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedRelay]:
    """Return a relay that takes BDAT, or not when the test says so."""
    scripted = ScriptedRelay(chunking=getattr(request, "param", True))
    scripted.url = await scripted.start()  # type: ignore[attr-defined]
    yield scripted
    await scripted.stop()


@pytest.fixture
def start_sender(
    delivery_nats_url: str, relay: ScriptedRelay, answers_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> StartSender:
    """Start senders on this machine's folder; what still runs at the end is killed. A failed test shows their logs."""
    born = itertools.count(1)

    def start(*, lease_seconds: float = 1.5, window: int = 100, folder: Path = answers_folder) -> subprocess.Popen[str]:
        url = relay.url  # type: ignore[attr-defined]
        command = [sys.executable, str(PROGRAM), delivery_nats_url, url, str(folder), str(lease_seconds), str(window)]
        log = tmp_path / f"sender{next(born)}.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)

        def end() -> None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            last_lines = log.read_text("utf-8").splitlines()[-40:]
            print(f"--- {log.name}, ended with {process.returncode}", *last_lines, sep="\n")  # noqa: T201

        request.addfinalizer(end)
        return process

    return start


async def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "ready\n"


async def check_books(bus: Bus, run_id: str, relay: ScriptedRelay, planned: int, most_unknown: int) -> None:
    found = await outcomes(bus, run_id)
    by_guest = {one.guest_id for one in found}
    assert len(found) == len(by_guest) == planned, "not exactly one terminal state for everybody"
    sent = sum(one.state is RecipientState.SENT for one in found)
    unknown = sum(one.state is RecipientState.UNKNOWN for one in found)
    assert len(relay.taken) == len(set(relay.taken)), "somebody got the message twice"
    assert sent <= len(relay.taken) <= sent + unknown
    assert sent + unknown == planned
    assert unknown <= most_unknown, f"{unknown} unknown, {most_unknown} were in flight at most"
    certain = {one.address for one in found if one.state is RecipientState.SENT}
    assert certain <= set(relay.taken), "the ledger says sent, the relay never had it"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relay", [True, False], indirect=True, ids=["bdat", "data"])
async def test_senders_killed_at_random_moments(
    bus: Bus, relay: ScriptedRelay, start_sender: StartSender, seed: int
) -> None:
    randomness = random.Random(seed)
    planned, kills = 2_600, 4
    order = await seal_and_post(bus, [f"accept.{number}@relay.example" for number in range(planned)])
    for _ in range(kills):
        process = start_sender()
        await ready(process)
        already = len(relay.taken)
        goal = already + randomness.randrange(1, 600)
        await until(lambda goal=goal: len(relay.taken) >= min(goal, planned))  # type: ignore[misc]
        await asyncio.sleep(randomness.random() * 0.02)
        process.kill()
        process.wait()
    await ready(start_sender())
    await settled(bus, order, within_seconds=60)
    in_flight = IN_FLIGHT if "CHUNKING" in relay.offers else CONNECTIONS
    await check_books(bus, order.run_id, relay, planned, most_unknown=kills * in_flight)


async def test_killed_on_another_machine_the_whole_window_is_unknown_and_nobody_gets_two(
    bus: Bus, relay: ScriptedRelay, start_sender: StartSender, tmp_path: Path
) -> None:
    order = await seal_and_post(bus, [f"slow.{number}@relay.example" for number in range(300)])
    first = start_sender(window=50, folder=tmp_path / "another-machine")
    await ready(first)
    await until(lambda: len(relay.taken) >= 75)
    first.kill()
    first.wait()
    await ready(start_sender(window=50))
    states = await settled(bus, order, within_seconds=60)
    assert 0 < states["unknown"] <= 50
    await check_books(bus, order.run_id, relay, 300, most_unknown=50)


async def test_a_zombie_that_wakes_up_changes_nothing(
    bus: Bus, relay: ScriptedRelay, start_sender: StartSender
) -> None:
    order = await seal_and_post(bus, [f"slow.{number}@relay.example" for number in range(400)])
    zombie = start_sender(window=40)
    await ready(zombie)
    await until(lambda: len(relay.taken) >= 60)
    zombie.send_signal(signal.SIGSTOP)
    heir = start_sender(window=40)
    await ready(heir)
    await settled(bus, order, within_seconds=60)
    lines = len(await journal(bus, order.run_id))
    taken = len(relay.taken)
    zombie.send_signal(signal.SIGCONT)
    await asyncio.sleep(2.0)  # long enough for it to send what it holds, if it dared
    assert zombie.poll() is None, "the zombie should live on and take other batches"
    assert len(await journal(bus, order.run_id)) == lines, "the zombie wrote to the journal"
    assert len(relay.taken) - taken <= IN_FLIGHT, "the zombie went on sending"
    await check_books(bus, order.run_id, relay, 400, most_unknown=40)


async def test_two_senders_of_which_one_is_killed_and_replaced_again_and_again(
    bus: Bus, relay: ScriptedRelay, start_sender: StartSender
) -> None:
    planned, kills = 3_000, 3
    order = await seal_and_post(bus, [f"accept.{number}@relay.example" for number in range(planned)])
    await ready(start_sender())
    for share in range(1, kills + 1):
        victim = start_sender()
        await ready(victim)
        await until(lambda share=share: len(relay.taken) >= planned * share // 5)  # type: ignore[misc]
        victim.kill()
        victim.wait()
    await settled(bus, order, within_seconds=60)
    await check_books(bus, order.run_id, relay, planned, most_unknown=kills * IN_FLIGHT)


async def test_a_bus_that_restarts_in_between_loses_and_doubles_nothing(
    relay: ScriptedRelay, answers_folder: Path, tmp_path: Path
) -> None:
    from tests.integration.delivery.delivery_world import sending

    from todoku.delivery.transports.smtp import SmtpTransport
    from todoku.engines.nats import EmbeddedNats

    engine = EmbeddedNats(tmp_path / "nats")
    bus = await Bus.connect(await asyncio.to_thread(engine.start), name="restart")
    try:
        await bus.declare()
        order = await seal_and_post(bus, [f"accept.{number}@relay.example" for number in range(3_000)])
        began = CLOCK.monotonic_seconds()
        async with sending(bus, SmtpTransport(relay.url, connections=CONNECTIONS), answers_folder):  # type: ignore[attr-defined]
            await until(lambda: len(relay.taken) >= 700)
            await asyncio.to_thread(engine.restart)
            assert await settled(bus, order, within_seconds=60) == {"sent": 3_000}
        assert CLOCK.monotonic_seconds() - began < 60
        assert len(relay.taken) == len(set(relay.taken)) == 3_000
    finally:
        await bus.close()
        await asyncio.to_thread(engine.stop)
