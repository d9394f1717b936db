"""The way between processes and the bus: slow, cut, broken, late; and the crashes of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from nats.aio.msg import Msg

from todoku.bus.errors import BusUnavailable
from todoku.bus.link import Link, Listener, NoAnswer, OnMessage
from todoku.delivery.simulation.machines import Process
from todoku.delivery.simulation.server import BusServer
from todoku.delivery.simulation.wire_server import Reply, WireServer
from todoku.delivery.simulation.world import World

log = structlog.get_logger(__name__)

_BREAK_NOTICED_SECONDS = 0.05
_STEP = 1e-7  # seconds between two words on one connection, so that they keep their order


@dataclass(slots=True)
class Weather:
    """How bad the ways are just now. Probabilities are for one message on a way."""

    latency_seconds: float = 0.001
    lost: float = 0.0
    late: float = 0.0
    latest_seconds: float = 8.0
    stale: float = 0.0
    stale_seconds: float = 1.0


class Network:
    """One bus server and the connections to it."""

    def __init__(self, world: World, server: BusServer, weather: Weather) -> None:
        self.world = world
        self.server = server
        self.weather = weather
        self.down_until = 0.0
        self.epoch = 1  # a new one with each crash: what was on its way then is lost
        self.wire = WireServer(server, world.at)
        self.wire.now = lambda: world.now
        self.wire.read_lag = self._read_lag
        self.links: list[SimLink] = []

    def crash(self, down_seconds: float, lost_acks_seconds: float) -> None:
        """Kill the server; what it had stored is there when it comes back, some acks are not."""
        now = self.world.now
        self.down_until = now + down_seconds
        self.epoch += 1
        self.wire.forget_pulls()
        self.server.forget_acks_since(now - lost_acks_seconds)
        self.world.say("bus", "crashed", down_seconds=round(down_seconds, 3))
        for link in self.links:
            link.break_soon()

    @property
    def down(self) -> bool:
        """Tell whether the server is away."""
        return self.down_until > self.world.now

    def there(self, link: SimLink, what: Callable[[], None], lost: Callable[[], None]) -> None:
        """Carry something to the server; exactly one of the two is called, `lost` at the moment of the loss."""
        process = link.process
        link.last_written = max(process.now, link.last_written + _STEP)
        process.then(link.last_written, partial(self._depart, link, what, lost))

    def back(self, link: SimLink, what: Callable[[], None], lost: Callable[[], None]) -> None:
        """Carry something from the server to the process."""
        arrival = self._arrival(link, link.last_back)
        if arrival is None:
            lost()
            return
        link.last_back = arrival
        self.world.at(arrival, partial(self._arrive, self.epoch, what, lost))

    def _depart(self, link: SimLink, what: Callable[[], None], lost: Callable[[], None]) -> None:
        arrival = self._arrival(link, link.last_there)
        if arrival is None or self.down:
            lost()
            return
        link.last_there = arrival
        self.world.at(arrival, partial(self._arrive, self.epoch, what, lost))

    def _arrive(self, epoch: int, what: Callable[[], None], lost: Callable[[], None]) -> None:
        if epoch != self.epoch or self.down:
            lost()
        else:
            what()

    def _arrival(self, link: SimLink, not_before: float) -> float | None:
        """Return when something that leaves now is at the other end, None when it never is."""
        chance, weather, now = self.world.random, self.weather, self.world.now
        seconds = chance.random() * weather.latency_seconds
        if weather.lost or weather.late:
            fate = chance.random()
            if fate < weather.lost:
                return None
            if fate < weather.lost + weather.late:
                seconds += chance.random() * weather.latest_seconds
        healed = link.process.machine.cut_from_bus_until
        if healed > now:
            if chance.random() < 0.5:
                return None
            now = healed
        return max(now + seconds, not_before + _STEP)

    def _read_lag(self) -> float:
        weather, chance = self.weather, self.world.random
        if weather.stale and chance.random() < weather.stale:
            return chance.random() * weather.stale_seconds
        return 0.0


class SimLink(Link):
    """The connection of one process; the real bus, its consumers and buckets run on it unchanged."""

    def __init__(
        self, network: Network, process: Process, on_extend: Callable[[Process, int], None] | None = None
    ) -> None:
        """on_extend: hears when a lease on a delivered message is asked for, with its sequence."""
        super().__init__("nats://simulation", process.name)
        self._on_extend = on_extend
        self.process = process
        self.last_written = 0.0
        self.last_there = 0.0
        self.last_back = 0.0
        self._network = network
        self._inboxes = 0
        self._heard: dict[str, OnMessage] = {}
        self._inbox = self.new_inbox()
        network.links.append(self)

    # --- what the bus asks of a link ---

    async def open(self, wait_seconds: float) -> None:
        """Do nothing: a simulated connection is open when it is made."""

    async def close(self) -> None:
        """Close for good."""
        self._closing = True

    @property
    def clustered(self) -> bool:
        """Tell whether the simulated server stands for a cluster."""
        return self._network.server.clustered

    def troubled(self) -> None:
        """Do nothing: there is no other server to go to, each of the simulated ones is the whole cluster."""

    def new_inbox(self) -> str:
        """Return a unique prefix for answers."""
        self._inboxes += 1
        return f"_INBOX.{self.process.name}.{self._inboxes}."

    async def listen(self, subject: str, on_message: OnMessage) -> Listener:
        """Take what comes to the inbox."""
        self._heard[subject[:-1]] = on_message
        return Listener(self, subject, on_message)

    def forget(self, listener: Listener) -> None:
        """Take nothing more from it."""
        self._heard.pop(listener.subject[:-1], None)

    async def until_up(self, timeout_seconds: float) -> None:
        """Wait for the server; raise BusUnavailable when that took too long."""
        missing = self._network.down_until - self.process.now
        if missing <= 0:
            return
        await asyncio.sleep(min(missing + _BREAK_NOTICED_SECONDS, timeout_seconds))
        if self._network.down:
            raise BusUnavailable("the simulated bus is down", kept="nothing was sent")

    async def send(self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Send what has no answer, or many."""
        if payload == b"+WPI" and self._on_extend is not None:
            self._on_extend(self.process, int(subject.split(".")[5]))
        self.process.step()
        if self._network.down and self._network.world.random.random() < 0.3:
            raise BusUnavailable("the simulated bus is down", kept="nothing was sent")

        def answer(replies: list[Reply]) -> None:
            self._network.back(self, lambda: self._hand_in(reply, replies), _nothing)

        self._network.there(self, lambda: self._network.wire.send(subject, payload, answer), _nothing)
        self.process.step()

    async def submit(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, timeout_seconds: float
    ) -> asyncio.Future[Msg]:
        """Send a request; its future always ends."""
        self.process.step()
        deadline = self.process.now + timeout_seconds
        await self.until_up(timeout_seconds)
        self._counter += 1
        token = str(self._counter)
        future: asyncio.Future[Msg] = self.process.loop.create_future()
        self._waiting[token] = future
        network, copy = self._network, dict(headers) if headers else None

        def lost() -> None:
            network.world.at(self._noticed(deadline), lambda: self._fail(token))

        def ask() -> None:
            reply = network.wire.ask(subject, payload, copy)
            network.back(self, lambda: self._answer(token, reply), lost)

        network.there(self, ask, lost)
        network.world.at(deadline, lambda: self._fail(token))
        self.process.step()
        return future

    # --- what the network does ---

    def break_soon(self) -> None:
        """Lose the connection: every waiting request fails, the process hears of it in a moment."""
        if not self.process.dead:
            self._network.world.after(_BREAK_NOTICED_SECONDS, lambda: self.process.loop.deliver(self._broke))

    def _broke(self) -> None:
        self.generation += 1
        self._fail_waiting()
        self._waiting.clear()

    def _noticed(self, deadline: float) -> float:
        """Return when a lost message is noticed: a broken connection at once, a silent one by the time limit."""
        chance = self._network.world.random
        return deadline if chance.random() < 0.3 else min(deadline, self._network.world.now + chance.random() * 0.2)

    def _answer(self, token: str, reply: Reply) -> None:
        message: Any = Msg(_client=None, data=reply.data, headers=_headers(reply))  # type: ignore[arg-type]
        self.process.loop.deliver(lambda: self._settle(token, message, None))

    def _fail(self, token: str) -> None:
        if token in self._waiting:
            self.process.loop.deliver(lambda: self._settle(token, None, NoAnswer("the simulated way lost it")))

    def _settle(self, token: str, message: Msg | None, error: NoAnswer | None) -> None:
        future = self._waiting.pop(token, None)
        if future is None or future.done():
            return
        if message is not None:
            future.set_result(message)
        elif error is not None:
            future.set_exception(error)

    def _hand_in(self, reply: str, replies: list[Reply]) -> None:
        prefix, _, token = reply.rpartition(".")
        take = self._heard.get(prefix + ".")
        for one in replies:
            subject = one.subject or reply
            message = Msg(_client=None, subject=subject, reply=one.reply, data=one.data, headers=_headers(one))  # type: ignore[arg-type]
            if take is not None:
                self.process.loop.deliver_in_order(partial(self._tell, take, message))
            elif token in self._answers:
                self.process.loop.deliver_in_order(partial(self._answers[token].put_nowait, message))

    def _tell(self, take: OnMessage, message: Msg) -> None:
        """Run a callback of the bus, none of which waits for anything."""
        try:
            take(message).__await__().__next__()
        except StopIteration:
            return
        raise RuntimeError("a callback of the bus waits; the simulated link can't")


def _headers(reply: Reply) -> dict[str, str] | None:
    return dict(reply.headers) if reply.headers is not None else None


def _nothing() -> None:
    return
