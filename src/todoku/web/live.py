"""What moves: one bus connection a process, shared by all pages, on a thread of its own.

Pages run in request threads or on the server's loop, and both come and go; the bus and the vault want one loop that
stays. So the hub owns a loop on a daemon thread: request threads hand coroutines to it (`run`), streams get told
through `Listener`. While the bus is away, listeners hear `away` and pages poll; the hub keeps trying for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, BusUnavailable
from todoku.delivery.engine.runs import put_stop, remove_stop
from todoku.kernel.errors import ConfigurationError
from todoku.kernel.retry import BackOff
from todoku.sources.arrivals import ArrivalWriter
from todoku.vault.types import Vault
from todoku.web.ports import ports

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

LIVE_KINDS = ("reservation", "run")
CONNECT_SECONDS = 5.0
FIRST_SECONDS = 3.0
LOOK_SECONDS = 2.0  # how soon pages learn that the bus went away
RUN_SECONDS = 8.0
ASK_SECONDS = 3.0


class Listener:
    """One open page: a set of things that moved, told from the hub's thread, awaited on the page's loop."""

    def __init__(self, project_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.project_id = project_id
        self._loop = loop
        self._moved: set[str] = set()
        self._woken = asyncio.Event()

    def tell(self, kind: str) -> None:
        """Remember that something of this kind moved; callable from any thread, never blocks."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, kind)

    async def moved(self, wait_seconds: float) -> set[str]:
        """Return what moved since the last call; empty when nothing did within the time."""
        try:
            async with asyncio.timeout(wait_seconds):
                await self._woken.wait()
        except TimeoutError:
            return set()
        self._woken.clear()
        moved, self._moved = self._moved, set()
        return moved

    def _note(self, kind: str) -> None:
        self._moved.add(kind)
        self._woken.set()


class Hub:
    """The process's share of bus and vault, for pages."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[Listener] = set()
        self._bus: Bus | None = None
        self._vault: Vault | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tried = threading.Event()
        self.here = False

    def run(self, work: Callable[[], Coroutine[Any, Any, Result]], timeout_seconds: float = RUN_SECONDS) -> Result:
        """Run a coroutine on the hub's loop and return its result; raises what it raised, or TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(work(), self._started())
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise

    def raw_mail(self, key: str) -> bytes:
        """Return a mail's bytes from the vault; raises vault.errors."""

        async def get() -> bytes:
            return await self._opened_vault().get(key)

        return self.run(get)

    def take_in(self, project_id: str, mails: Sequence[tuple[str, bytes]], timeout_seconds: float) -> int:
        """Keep mails that a person brings, as (name, bytes); return how many were kept. Raises NotKept, BusUnavailable.

        Those before one that could not be kept are kept; bringing all again makes duplicates, which the reader names.
        """

        async def keep(bus: Bus) -> int:
            writer = ArrivalWriter(self._opened_vault(), bus, ports().clock)
            for name, raw in mails:
                await writer.accept(raw, project_id=project_id, source="upload", cursor=name)
            return len(mails)

        return self.ask_bus(keep, timeout_seconds=timeout_seconds)

    def _opened_vault(self) -> Vault:
        if self._vault is None:
            self._vault = ports().open_vault()
        return self._vault

    def ask_bus(
        self, question: Callable[[Bus], Coroutine[Any, Any, Result]], *, timeout_seconds: float = ASK_SECONDS
    ) -> Result:
        """Ask the bus something; raises BusUnavailable when it is not connected or does not answer soon."""
        self._started()
        self._tried.wait(FIRST_SECONDS)  # the first page of a process must not find the bus away by being early
        bus = self._bus
        if bus is None or not self.here:
            raise BusUnavailable("pages are not connected to the bus", todo="wait; they try again by themselves")
        try:
            return self.run(lambda: question(bus), timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            raise BusUnavailable(f"no answer within {timeout_seconds:g} s", todo="try again") from error

    def publish(self, project_id: str, kind: str, payload: dict[str, str]) -> None:
        """Tell all pages of all processes that something moved; best effort, because pages also poll."""
        bus = self._bus
        if bus is None:
            self._spread(project_id, kind)
            return

        async def publish() -> None:
            try:
                await bus.publish_event(project_id, kind, payload)
            except BusError as error:
                log.info("web.event_not_published", kind=kind, error=str(error))
                self._spread(project_id, kind)

        asyncio.run_coroutine_threadsafe(publish(), self._started())

    def stop_mail(self, project_id: str, address: str, reason: str) -> bool:
        """Tell senders at once that an address must not be mailed; True when the bus has it.

        The book of suppressions has it before: without the bus only a run that is sealed already may still reach it.
        """
        return self._tell_senders(lambda bus: put_stop(bus, project_id, address, reason))

    def allow_mail(self, project_id: str, address: str) -> bool:
        """Take back what `stop_mail` said; True when the bus has it."""
        return self._tell_senders(lambda bus: remove_stop(bus, project_id, address))

    def _tell_senders(self, say: Callable[[Bus], Coroutine[Any, Any, None]]) -> bool:
        try:
            self.ask_bus(say)
        except BusError as error:
            log.warning("web.senders_not_told", error=str(error))
            return False
        return True

    def listen(self, project_id: str) -> Listener:
        """Return a listener for one page, on the running loop; give it to `forget` in the end."""
        listener = Listener(project_id, asyncio.get_running_loop())
        self._listeners.add(listener)
        self._started()
        listener.tell("here" if self.here else "away")
        return listener

    def forget(self, listener: Listener) -> None:
        """Stop telling this listener."""
        self._listeners.discard(listener)

    def reset(self) -> None:
        """Disconnect and forget everything; the next use starts afresh, with the ports connected by then."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), loop).result(RUN_SECONDS)
        loop.call_soon_threadsafe(loop.stop)

    async def _close(self) -> None:
        if self._keeper is not None:
            while not self._keeper.done():  # nats-py swallows a cancel that comes while it connects
                self._keeper.cancel()
                await asyncio.wait({self._keeper}, timeout=0.2)
        if self._bus is not None:
            await self._bus.close()
        if self._vault is not None:
            await self._vault.close()
        self._keeper = self._bus = self._vault = None
        self._listeners.clear()
        self._tried.clear()
        self.here = False

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._live, args=(self._loop,), name="web-live", daemon=True).start()
            return self._loop

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        self._keeper = loop.create_task(self._keep_connected())
        try:
            loop.run_forever()
        finally:
            loop.close()

    async def _keep_connected(self) -> None:
        back_off = BackOff(base_seconds=0.5, cap_seconds=5.0)
        attempt = 0
        while True:
            try:
                bus = await self._connected()
            except (BusError, ConfigurationError, OSError) as error:
                log.info("web.bus_away", error=str(error))
                self._tried.set()
                await asyncio.sleep(back_off.wait_seconds(attempt))
                attempt += 1
                continue
            self._bus = bus
            attempt = 0
            log.info("web.bus_here")
            await self._watch(bus)

    async def _connected(self) -> Bus:
        bus = await Bus.connect(ports().nats_url(), name="web", wait_seconds=CONNECT_SECONDS)
        try:
            await bus.subscribe_live("event.*.*", self._on_event)
        except BaseException:  # cancelled, too: nobody else knows this connection
            await bus.close()
            raise
        return bus

    async def _watch(self, bus: Bus) -> None:
        while True:  # the bus reconnects by itself, with its subscriptions; pages only need to know
            try:
                await bus.link.until_up(0.5)
            except BusUnavailable:
                self._set_here(False)
            else:
                self._set_here(True)
            self._tried.set()
            await asyncio.sleep(LOOK_SECONDS)

    def _set_here(self, here: bool) -> None:
        if here == self.here:
            return
        self.here = here
        for listener in list(self._listeners):
            listener.tell("here" if here else "away")

    async def _on_event(self, subject: str, payload: bytes) -> None:
        _, project_id, kind = subject.split(".")
        if kind in LIVE_KINDS:
            self._spread(project_id, kind)

    def _spread(self, project_id: str, kind: str) -> None:
        for listener in list(self._listeners):
            if listener.project_id == project_id:
                listener.tell(kind)


hub = Hub()

STREAM_SECONDS = 900.0  # after that the browser opens the next one, and proves again who is asking
BEAT_SECONDS = 15.0
CALM_SECONDS = 0.2  # at most five signals a second, however fast mails come


async def signals(project_id: str) -> AsyncIterator[bytes]:
    """Yield server-sent events: `here` or `away` (is it live?), and the kinds that moved. Ends after STREAM_SECONDS."""
    listener = hub.listen(project_id)
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS
    try:
        yield b"retry: 2000\n\n"
        while loop.time() < end:
            moved = await listener.moved(BEAT_SECONDS)
            if not moved:
                yield b": still here\n\n"
                continue
            yield b"".join(f"event: {kind}\ndata: 1\n\n".encode() for kind in sorted(moved))
            await asyncio.sleep(CALM_SECONDS)
    finally:
        hub.forget(listener)
