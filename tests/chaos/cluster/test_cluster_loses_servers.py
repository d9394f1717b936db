"""Several senders and projectors on a cluster of three, whose servers are killed, paused and cut off while runs send.

The relay's own count is the judge. TODOKU_CHAOS_SEED repeats one round, TODOKU_CHAOS_ROUNDS makes more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from tests.integration.bus.nats_cluster import CAN_CUT, Cluster, Node, start_cluster
from tests.integration.delivery.delivery_world import CLOCK, outcomes, seal_and_post

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.delivery.ledger import queries
from todoku.delivery.ledger.projector import Projector
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.types import Outcome, RecipientState, RunBalance, RunOrder

CONNECTIONS = 5
SENDERS = 2
LEASE_SECONDS = "20"  # longer than an election: a sender that only lost its leader keeps its batch
PROGRAM = Path(__file__).parent.parent / "delivery" / "sender_process.py"
SEEDS = (
    [int(os.environ["TODOKU_CHAOS_SEED"])]
    if "TODOKU_CHAOS_SEED" in os.environ
    else list(range(int(os.environ.get("TODOKU_CHAOS_ROUNDS", "2"))))
)

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    own = start_cluster(tmp_path_factory.mktemp("chaos-cluster") / "nats", number=7)
    yield own
    own.stop()


@pytest.fixture
async def bus(cluster: Cluster) -> AsyncIterator[Bus]:
    connected = await Bus.connect(cluster.url, name="chaos-test", wait_seconds=20)
    await connected.declare()
    for key in await connected.bucket("runs").keys():
        await connected.bucket("runs").delete(key)  # of a round that failed
    yield connected
    await connected.close()


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    scripted = ScriptedRelay()
    scripted.url = await scripted.start()  # type: ignore[attr-defined]
    yield scripted
    await scripted.stop()


class Senders:
    """Sender processes of one machine; what still lives at the end is killed."""

    def __init__(self, nats_url: str, relay: ScriptedRelay, folder: Path) -> None:
        self._arguments = [nats_url, relay.url, str(folder), LEASE_SECONDS, "50"]  # type: ignore[attr-defined]
        self.living: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def start(self) -> None:
        command = [sys.executable, str(PROGRAM), *self._arguments]
        self.living.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        self.living.remove(process)

    def kill_one(self, randomness: random.Random) -> None:
        self.kills += 1
        self.end(randomness.choice(self.living))
        self.start()


@asynccontextmanager
async def senders_on(cluster: Cluster, relay: ScriptedRelay, folder: Path) -> AsyncIterator[Senders]:
    senders = Senders(cluster.url, relay, folder)
    try:
        for _ in range(SENDERS):
            senders.start()
        yield senders
    finally:
        for process in list(senders.living):
            senders.end(process)


async def kill_node(node: Node, seconds: float) -> None:
    node.kill()
    await asyncio.sleep(seconds)
    node.start()


async def pause_node(node: Node, seconds: float) -> None:
    node.pause()
    await asyncio.sleep(seconds)
    node.wake()


async def cut_node(node: Node, seconds: float) -> None:
    node.cut_off()
    await asyncio.sleep(seconds)
    node.plug_in()


FAULTS: list[Callable[[Node, float], Coroutine[None, None, None]]] = [
    kill_node,
    pause_node,
    *([cut_node] if CAN_CUT else []),
]


async def told_outcomes(bus: Bus, run_id: str) -> list[Outcome]:
    """Read the journal as every reader does: again when there is no leader just now."""
    while True:
        try:
            return await outcomes(bus, run_id)
        except BusError as error:
            if not error.transient:
                raise
            await asyncio.sleep(0.2)


async def all_settled(bus: Bus, orders: list[RunOrder], *, within_seconds: float = 150.0) -> None:
    deadline = CLOCK.monotonic_seconds() + within_seconds
    for order in orders:
        while len(found := await told_outcomes(bus, order.run_id)) < order.to_send:
            states = Counter(one.state.value for one in found)
            assert CLOCK.monotonic_seconds() < deadline, f"not settled: {dict(states)} of {order.to_send}"
            await asyncio.sleep(0.3)


async def check_books(bus: Bus, orders: list[RunOrder], relay: ScriptedRelay, most_unknown: int) -> None:
    """I1 to I3 against what the relay counted."""
    found = [one for order in orders for one in await told_outcomes(bus, order.run_id)]
    planned = sum(order.to_send for order in orders)
    assert len(found) == len({one.guest_id for one in found}) == planned, "not one terminal state for everybody"
    assert len(relay.taken) == len(set(relay.taken)), "somebody got the message twice"
    states = Counter(one.state for one in found)
    print(f"{dict(states)}, relay took {len(relay.taken)}")  # noqa: T201
    assert states[RecipientState.SENT] + states[RecipientState.UNKNOWN] == planned
    assert states[RecipientState.SENT] <= len(relay.taken) <= planned
    assert {one.address for one in found if one.state is RecipientState.SENT} <= set(relay.taken)
    assert states[RecipientState.UNKNOWN] <= most_unknown


async def check_ledger(orders: list[RunOrder], bus: Bus) -> None:
    """Two projectors fed the ledger meanwhile: it says what the journal says."""
    deadline = CLOCK.monotonic_seconds() + 60
    for order in orders:
        states = Counter(one.state.value for one in await told_outcomes(bus, order.run_id))
        wanted = RunBalance(planned=order.to_send, **states)
        while (found := await sync_to_async(queries.balance)("shop", UUID(order.run_id), order.to_send)) != wanted:
            assert CLOCK.monotonic_seconds() < deadline, f"{found} instead of {wanted}"
            await asyncio.sleep(0.2)


@asynccontextmanager
async def two_projectors(cluster: Cluster, key: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    buses = [await Bus.connect(cluster.url, name=f"projector-{number}", wait_seconds=20) for number in range(2)]
    tasks = [asyncio.create_task(Projector(one, CLOCK, durable=f"ledger-{key}").run(stop)) for one in buses]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), timeout=60)
        for one in buses:
            await one.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_servers_and_senders_lost_at_random_moments(
    cluster: Cluster, bus: Bus, relay: ScriptedRelay, tmp_path: Path, seed: int
) -> None:
    randomness = random.Random(seed)
    planned, runs = 700, 4
    orders = [
        await seal_and_post(bus, [f"slow.{seed}.{run}.{number}@relay.example" for number in range(planned)])
        for run in range(runs)
    ]
    async with two_projectors(cluster, f"chaos-{seed}"), senders_on(cluster, relay, tmp_path) as senders:
        for _ in range(4):
            await asyncio.sleep(randomness.uniform(0.5, 3.0))
            fault = randomness.choice(FAULTS)
            node = randomness.choice(cluster.nodes)
            print(f"{fault.__name__} {node.name}")  # noqa: T201
            trouble = asyncio.create_task(fault(node, randomness.uniform(1.0, 9.0)))
            if randomness.random() < 0.5:
                await asyncio.sleep(randomness.random())
                senders.kill_one(randomness)
            await trouble
        await all_settled(bus, orders)
        # on a busy machine a living sender may lose a lease to an election, too
        await check_books(bus, orders, relay, most_unknown=(senders.kills + 1) * CONNECTIONS * 2)
        await check_ledger(orders, bus)
