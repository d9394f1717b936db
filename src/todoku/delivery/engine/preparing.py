"""From a sealed recipient to a finished message: render, compose, or say why not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from todoku.delivery.types import (
    ColumnRenderer,
    OctetRenderer,
    Outcome,
    Recipient,
    RecipientState,
    RenderedColumns,
    RenderedOctets,
    Renderer,
    RunOrder,
    Signer,
    Unrenderable,
)
from todoku.kernel.addresses import UnsafeHeaderError
from todoku.mail.compose import Composer, MessageParts, SenderIdentity
from todoku.mail.compose_columns import MessageColumns, compose_columns

_SIDE_BY_SIDE = 25  # messages made at once before the loop may read answers: less than half a millisecond
_BREATHE_EVERY = 8  # the same where messages are made one by one


class Prepared(NamedTuple):
    """One recipient's message, or the outcome that stands without one. Exactly one of content and outcome is set.

    place: index of the recipient in its batch. dot_lines: as in Envelope.
    """

    place: int
    content: bytes
    outcome: Outcome | None
    dot_lines: bool = True


class MessageMaker:
    """Everything compiled for one run; made once per run and sender."""

    def __init__(self, order: RunOrder, renderer: Renderer, signer: Signer | None = None) -> None:
        """Compile the fixed parts; raises UnsafeHeaderError when the sender's own name or address is unfit."""
        domain = order.sender_address.rpartition("@")[2]
        identity = SenderIdentity(order.sender_name, order.sender_address, order.reply_to, domain)
        run_key = order.run_id.replace("-", "")
        feedback_id = f"{order.run_id}:{order.project_id}:campaign:todoku"
        self._seven_bit = Composer(identity, run_key=run_key, feedback_id=feedback_id)
        self._eight_bit = Composer(identity, run_key=run_key, feedback_id=feedback_id, eight_bit=True)
        self._renderer = renderer
        self._quick = renderer.render_octets if isinstance(renderer, OctetRenderer) else _no_quick_way
        self._columns = renderer.render_columns if isinstance(renderer, ColumnRenderer) else _no_columns
        self._signer = signer
        self._shared = dict(order.shared_values)
        self._order = order

    def message_id(self, batch: int, index: int) -> str:
        """Return the Message-ID of one recipient; the same at every attempt."""
        before, behind = self.message_id_frame(batch)
        return f"{before}{index}{behind}"

    def message_id_frame(self, batch: int) -> tuple[str, str]:
        """Return what stands before and behind the index in the Message-IDs of a batch."""
        before, _, behind = self._seven_bit.message_id(self._key(batch, "\n")).partition("\n")
        return before, behind

    def make(self, batch: int, recipient: Recipient, now_utc: datetime, *, eight_bit: bool = False) -> Prepared:
        """Return the message; an unfit template or address becomes an outcome, never an exception."""
        values, unsubscribe_url = self._values(recipient)
        try:
            composer = self._eight_bit if eight_bit else self._seven_bit
            key = self._key(batch, recipient.index)
            quick = self._quick(values)
            if quick is not None:
                parts = MessageParts(recipient.name, recipient.address, quick.subject, "", "", key, unsubscribe_url)
                content, dot_lines = composer.compose_filled(parts, quick.bodies, now_utc)
                return Prepared(recipient.index, content, None, dot_lines)
            words = self._renderer.render(values)
            parts = MessageParts(
                recipient.name, recipient.address, words.subject, words.html, words.text, key, unsubscribe_url
            )
            return Prepared(recipient.index, composer.compose(parts, now_utc), None)
        except Unrenderable as error:
            why = f"{error.variable}: {error.detail}"
        except UnsafeHeaderError as error:
            why = f"address or header: {error}"
        outcome = Outcome(
            recipient.index,
            recipient.guest_id,
            recipient.address,
            RecipientState.UNRENDERABLE,
            why[:500],
            now_utc,
            self.message_id(batch, recipient.index),
        )
        return Prepared(recipient.index, b"", outcome)

    def make_many(
        self, batch: int, recipients: Sequence[Recipient], now_utc: datetime, *, eight_bit: bool = False
    ) -> list[Prepared | None]:
        """Return the messages that can be made side by side, octet for octet as `make` makes them; None for others."""
        made: list[Prepared | None] = [None] * len(recipients)
        values, urls = zip(*map(self._values, recipients), strict=True)
        composer = self._eight_bit if eight_bit else self._seven_bit
        for group in self._columns(values):
            people = [recipients[row] for row in group.rows]
            columns = MessageColumns(
                [person.name for person in people],
                [person.address for person in people],
                group.subjects,
                self._key(batch, ""),
                [person.index for person in people],
                [urls[row] for row in group.rows],
            )
            contents = compose_columns(composer, columns, group.bodies, now_utc)
            dot_lines = group.bodies.dot_lines
            for row, person, content in zip(group.rows, people, contents, strict=True):
                if content is not None:
                    made[row] = Prepared(person.index, content, None, dot_lines)
        return made

    async def make_all(
        self, batch: int, recipients: Sequence[Recipient], now_utc: datetime, *, eight_bit: bool = False
    ) -> list[Prepared]:
        """Return all messages in order, signed; lets the event loop read answers in between.

        Raises what the signer raises: a message that should be signed never leaves unsigned.
        """
        prepared: list[Prepared] = []
        for begin in range(0, len(recipients), _SIDE_BY_SIDE):
            some = recipients[begin : begin + _SIDE_BY_SIDE]
            singly = 0
            for person, one in zip(some, self.make_many(batch, some, now_utc, eight_bit=eight_bit), strict=True):
                if one is None:
                    one = self.make(batch, person, now_utc, eight_bit=eight_bit)
                    singly += 1
                    if singly % _BREATHE_EVERY == 0:
                        await asyncio.sleep(0)
                prepared.append(one)
            await asyncio.sleep(0)
        return prepared if self._signer is None else await self._signed(self._signer, prepared)

    async def _signed(self, signer: Signer, prepared: list[Prepared]) -> list[Prepared]:
        contents = iter(await signer.sign([one.content for one in prepared if one.outcome is None]))
        return [one if one.outcome is not None else one._replace(content=next(contents)) for one in prepared]

    def _values(self, recipient: Recipient) -> tuple[Mapping[str, Any], str]:
        """Return the merge values with those that all share, and the link to unsubscribe ("" for none)."""
        values = recipient.values
        url = values.get("unsubscribe_url")
        if not url and "unsubscribe_token" in values:
            url = f"{self._order.unsubscribe_base_url}{values['unsubscribe_token']}"
            return {**self._shared, **values, "unsubscribe_url": url}, url
        if self._shared:
            values = {**self._shared, **values}
            url = values.get("unsubscribe_url")
        return values, str(url or "")

    def _key(self, batch: int, index: int | str) -> str:
        return f"{self._order.run_id}.{batch}.{index}"


def _no_quick_way(_values: Mapping[str, Any]) -> RenderedOctets | None:
    return None


def _no_columns(_values: Sequence[Mapping[str, Any]]) -> list[RenderedColumns]:
    return []
