"""The bus of one simulated process: the real one, on a simulated link, with watches that cost no polling."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Protocol

from todoku.bus.buckets import Bucket, OnChange, Watch, bucket_stream
from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable
from todoku.delivery.simulation.machines import Process
from todoku.delivery.simulation.network import Network, SimLink
from todoku.delivery.simulation.server import Stored


class Observer(Protocol):
    """Hears what processes ask for and are told."""

    def told(self, process: Process, bucket: str, key: str, value: bytes | None) -> None:
        """A watch told it of a change."""
        ...

    def asked(self, process: Process, message_id: str) -> None:
        """It wants a journal line published."""
        ...

    def owns(self, process: Process, subject: str) -> None:
        """It was told that its journal line is stored."""
        ...

    def extends(self, process: Process, sequence: int) -> None:
        """It asks for a longer lease on a message of SEND."""
        ...


class SimBus(Bus):
    """A bus whose link is simulated."""

    def __init__(self, network: Network, process: Process, board: Board, observer: Observer | None = None) -> None:
        super().__init__(SimLink(network, process, observer.extends if observer is not None else None))
        self.network = network
        self.process = process
        self.board = board
        self.observer = observer

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expected_last_subject_sequence: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> int:
        """Publish as the real bus does, and let the observer know of journal lines."""
        told = self.observer is not None and subject.startswith("journal.")
        if self.observer is not None and told and message_id is not None:
            self.observer.asked(self.process, message_id)
        sequence = await super().publish(
            subject,
            payload,
            message_id=message_id,
            expected_last_subject_sequence=expected_last_subject_sequence,
            timeout_seconds=timeout_seconds,
        )
        if self.observer is not None and told:
            self.observer.owns(self.process, subject)
        return sequence

    async def declare(self, *, replicas: int = 1) -> None:
        """Do nothing: the simulated server has every stream."""

    def bucket(self, name: str) -> Bucket:
        """Return a bucket whose watches are told by the board."""
        return SimBucket(self, name)


class Board:
    """Passes changes of buckets on to those who watch; told by the server of each stored message."""

    def __init__(self) -> None:
        self._watches: dict[str, list[_SimWatch]] = {}

    def add(self, stream: str, watch: _SimWatch) -> None:
        """Tell this watch from now on."""
        self._watches.setdefault(stream, []).append(watch)

    def stored(self, message: Stored) -> None:
        """Pass a change on."""
        if message.subject.startswith("$KV."):
            for watch in self._watches.get(bucket_stream(message.subject.split(".", 2)[1]), ()):
                watch.change(message)


class SimBucket(Bucket):
    """A bucket of which watches are told by the board."""

    def __init__(self, bus: SimBus, name: str) -> None:
        super().__init__(bus, name)
        self._sim = bus

    async def watch(self, on_change: OnChange) -> Watch:
        """Tell what is there, then every change; a watch behind a cut hears of it afterwards."""
        watch = _SimWatch(self._sim, self, on_change)
        await watch.start()
        return watch


class _SimWatch(Watch):
    """In order and after a time of its own; of several changes of one key that wait, some only show the last."""

    def __init__(self, bus: SimBus, bucket: Bucket, on_change: OnChange) -> None:
        super().__init__(bus, bucket, on_change)
        self._sim = bus
        self._told: dict[str, int] = {}
        self._last_arrival = 0.0
        self._over = False

    async def start(self) -> None:
        """Read what is there; raises BusUnavailable."""
        # the board is asked first: what is stored while we read is then told, perhaps twice, never not at all
        self._sim.board.add(self._bucket.stream, self)
        found = [
            (message.subject, message.sequence, None if gone else message.payload)
            async for message, gone in self._sim.messages_with_headers(self._bucket.stream, self._bucket.every_subject)
        ]
        if self._over:
            raise BusUnavailable("the watch was ended", kept="nothing")
        for subject, sequence, value in found:
            self._tell_once(subject, sequence, value)

    async def stop(self) -> None:
        """End the watch."""
        self._over = True

    def change(self, message: Stored) -> None:
        """Carry a change to the process."""
        if self._over or self._sim.process.dead:
            return
        world, weather = self._sim.network.world, self._sim.network.weather
        seconds = world.random.random() * weather.latency_seconds
        if weather.late and world.random.random() < weather.late * 5:
            seconds += world.random.random() * weather.latest_seconds / 4
        begins = max(world.now, self._sim.process.machine.cut_from_bus_until, self._sim.network.down_until)
        self._last_arrival = max(begins + seconds, self._last_arrival + 1e-7)
        world.at(self._last_arrival, partial(self._arrive, message))

    def _arrive(self, message: Stored) -> None:
        world = self._sim.network.world
        newest = self._sim.network.server.last(self._bucket.stream, message.subject, world.now)
        if newest is not None and newest.sequence > message.sequence and world.random.random() < 0.5:
            return
        value = None if message.gone else message.payload
        self._sim.process.loop.deliver_in_order(partial(self._tell_once, message.subject, message.sequence, value))

    def _tell_once(self, subject: str, sequence: int, value: bytes | None) -> None:
        if self._over or self._told.get(subject, 0) >= sequence:
            return
        self._told[subject] = sequence
        key = self._bucket.key_of(subject)
        if self._sim.observer is not None:
            self._sim.observer.told(self._sim.process, self._bucket.name, key, value)
        result = self._on_change(key, value)
        if inspect.isawaitable(result):
            self._sim.process.loop.start(result)  # type: ignore[arg-type]
