"""What a sender holds of one run, from half a minute before its due time until it is off the board.

Purpose     pay for everything beforehand: the place in SEND, the compiled templates, a first small window.
Reads       SEND (a look at the first batch, without taking it), JOURNAL (the start record).
Writes      the start record, when its time has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND, send_subject
from todoku.delivery.engine.codec import OpenBatch, open_batch
from todoku.delivery.engine.journal import StartRecord
from todoku.delivery.engine.options import Ports
from todoku.delivery.engine.preparing import MessageMaker, Prepared
from todoku.delivery.engine.quiet import quiet_until
from todoku.delivery.engine.runs import GO
from todoku.delivery.engine.starts import claim_start, read_start
from todoku.delivery.types import RendererFactory, RunOrder

log = structlog.get_logger(__name__)

_TELL_LATER_SECONDS = 2.0
_MOST_BATCHES_OUT = 20_000  # batches put back for later count as out; a big run must not starve on them


class ActiveRun:
    """One armed or started run. maker: None when the templates can't be compiled here."""

    def __init__(
        self,
        order: RunOrder,
        consumer: Consumer,
        maker: MessageMaker | None,
        record: StartRecord | None = None,
    ) -> None:
        """order: the seal and words that were armed; those of the record when there is one."""
        self.consumer = consumer
        self.maker = maker
        self.record = record
        self.fetching = False
        self.empty = 0  # fetches in a row that found nothing
        self.rests_until_seconds = 0.0
        self.trouble = 0  # visits in a row that broke off
        self._order = order
        self._wish: RunOrder | None = None
        self._in_force = order
        self._first: tuple[int, tuple[Prepared, ...]] | None = None
        self._own_zones = False
        self._told_quiet = False
        self._starting = asyncio.Lock()

    @property
    def run_id(self) -> str:
        """Return whose run this is."""
        return self._order.run_id

    @property
    def armed_order(self) -> RunOrder:
        """Return the order as it was armed."""
        return self._order

    @property
    def has_no_batches(self) -> bool:
        """Tell whether this run is over as soon as it begins: there is nobody to send to."""
        return self.record is None and not self._order.batches

    @property
    def seal(self) -> int:
        """Return the seal whose batches this run sends."""
        return self._order.seal

    def order(self, ports: Ports) -> RunOrder | None:
        """Return the order in force: words of our seal, wishes of KV `runs`; None when the run is off the board."""
        wish = ports.runs.get(self._order.run_id)
        if wish is None:
            return None
        if wish is not self._wish:
            self._wish = wish
            self._in_force = wish if wish == self._order else _with_wishes(self._order, wish)
        return self._in_force

    @property
    def is_outdated(self) -> bool:
        """Tell whether another seal took this one's place before the run was begun."""
        return self.record is None and self._wish is not None and self._wish.seal != self.seal

    def may_work(self, ports: Ports) -> bool:
        """Tell whether this run's batches may be visited now: wanted, due, and not in its quiet hours.

        A run that was begun is due for ever, whatever a clock says later.
        """
        order = self.order(ports)
        if order is None or order.state != GO or self.is_outdated or order.transport not in ports.transports:
            return False
        now_utc = ports.clock.now_utc()
        if self.maker is None and now_utc < order.latest_finish_at_utc:
            return False
        if self.record is None:
            latest = order.latest_start_at_utc
            if now_utc < order.due_at_utc or (latest is not None and now_utc > latest):
                return False
        return self._own_zones or not self._is_quiet(order, now_utc)

    def _is_quiet(self, order: RunOrder, now_utc: datetime) -> bool:
        until_utc = quiet_until(order.quiet, order.time_zone, now_utc)
        if until_utc is not None and not self._told_quiet:
            log.info("delivery.run_waits_for_quiet_hours", run_id=order.run_id, until=until_utc.isoformat())
        self._told_quiet = until_utc is not None
        return self._told_quiet and now_utc < order.latest_finish_at_utc

    async def begin(self, ports: Ports) -> bool:
        """See to it that the run has its start record; return False when it names another seal than ours.

        Raises the bus's errors: then nothing may be sent yet.
        """
        if self.record is None:
            async with self._starting:
                if self.record is None and self.may_work(ports):
                    await self._claim(ports)
        return self.record is not None and self.record.seal == self.seal

    async def _claim(self, ports: Ports) -> None:
        order, now_utc = self._in_force, ports.clock.now_utc()
        self.record = await claim_start(ports.bus, order, ports.options.sender_id, now_utc)
        # hundreds may begin in one second, in which there are better things to do than to write about them
        asyncio.get_running_loop().call_later(_TELL_LATER_SECONDS, _tell_start, self.record, order.due_at_utc)

    async def prepare_first(self, ports: Ports) -> None:
        """Make the first messages of the first batch beforehand, dated as they will leave. Raises the bus's errors."""
        order = self._order
        transport = ports.transports.get(order.transport)
        if self.maker is None or transport is None or not order.batches or self.record is not None:
            return
        stored = await ports.bus.last_message(SEND, send_subject(order.run_id, order.seal, 0))
        if stored is None:
            return
        batch = open_batch(stored.payload)
        self.note_zone(batch)
        people = [batch.recipient(index) for index in range(min(ports.options.first_window, len(batch.recipients)))]
        eight_bit = ports.options.eight_bit and transport.eight_bit
        leaves_utc = max(ports.clock.now_utc(), order.due_at_utc)
        prepared = await self.maker.make_all(batch.number, people, leaves_utc, eight_bit=eight_bit)
        self._first = batch.number, tuple(prepared)
        ports.answers.begin(order.run_id, order.seal, batch.number).close()  # the file is there when it is needed

    def take_first(self, batch: int) -> Sequence[Prepared]:
        """Return the messages that were made beforehand, once, to the visit of their batch."""
        if self._first is None or self._first[0] != batch:
            return ()
        prepared, self._first = self._first[1], None
        return prepared

    def note_zone(self, batch: OpenBatch) -> None:
        """Remember whether this run's batches follow their recipients' own zones."""
        self._own_zones = self._own_zones or bool(batch.time_zone)

    async def close(self) -> None:
        """Stop listening; the place in SEND stays."""
        try:
            await self.consumer.close()
        except BusError as error:
            log.debug("delivery.consumer_not_closed", error=error.what)


async def arm(ports: Ports, renderer_factory: RendererFactory, order: RunOrder) -> ActiveRun:
    """Make a run ready: find out whether it was begun, open its place in SEND, compile its words, make a first window.

    Raises the bus's errors and UnreadablePayload; templates that can't be compiled are logged.
    """
    record = await read_start(ports.bus, order.run_id)
    if record is not None:
        order = record.order
    maker = _make_maker(ports, renderer_factory, order)
    consumer = await ports.bus.consumer(
        SEND,
        durable=consumer_name(order.run_id, order.seal),
        filter_subject=f"send.{order.run_id}.{order.seal}.*",
        ack_wait_seconds=ports.options.lease_seconds,
        max_ack_pending=_MOST_BATCHES_OUT,
    )
    run = ActiveRun(order, consumer, maker, record)
    try:
        await run.prepare_first(ports)
    except BaseException:
        await run.close()
        raise
    return run


def _tell_start(record: StartRecord, due_utc: datetime) -> None:
    log.info(
        "delivery.run_started",
        run_id=record.run_id,
        seal=record.seal,
        by=record.sender_id,
        seconds_late=round((record.started_at_utc - due_utc).total_seconds(), 3),
        to_send=record.order.to_send,
    )


async def drop_consumers(bus: Bus, run_id: str, seals: int) -> None:
    """Remove the places in SEND of all seals up to this one; raises the bus's errors."""
    for seal in range(1, seals + 1):
        await bus.delete_consumer(SEND, consumer_name(run_id, seal))


def consumer_name(run_id: str, seal: int) -> str:
    """Return the durable name that all senders share for one seal of a run."""
    return f"send-{run_id}-{seal}"


def _with_wishes(order: RunOrder, wish: RunOrder) -> RunOrder:
    return replace(
        order,
        state=wish.state,
        due_at_utc=wish.due_at_utc,
        latest_start_at_utc=wish.latest_start_at_utc,
        latest_finish_at_utc=wish.latest_finish_at_utc,
        transport=wish.transport,
        pace_per_second=wish.pace_per_second,
        quiet=wish.quiet,
        time_zone=wish.time_zone,
    )


def _make_maker(ports: Ports, renderer_factory: RendererFactory, order: RunOrder) -> MessageMaker | None:
    try:
        renderer = renderer_factory(order.subject_template, order.html_template, order.text_template)
        return MessageMaker(order, renderer, ports.signer_of(order.sender_address))
    except Exception as error:
        # a factory may raise what it likes; the other runs go on, and this one waits for a sender that can
        log.exception(
            "delivery.run_not_compiled",
            run_id=order.run_id,
            error=str(error),
            todo="correct the campaign and send it again, or stop the run",
        )
        return None
