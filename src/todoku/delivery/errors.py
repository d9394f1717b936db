"""Errors of the delivery room.

DeliveryError
  ├─ UnreadablePayload   permanent: bytes on the bus that this version can't read; they stay where they are
  ├─ SealConflict        permanent: this run and seal were sealed before with other recipients
  ├─ BatchTaken          permanent for this visit: another sender owns the batch now; touch nothing
  ├─ NoCredentials       transient: a provider's keys were not found, or can't be renewed now
  └─ HandOverForbidden   the message must not be completed: the lease ran out, or a person stopped the run
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class DeliveryError(TodokuError):
    """Root of this room's errors."""


class UnreadablePayload(DeliveryError):
    """A payload of the bus has an unknown version or is damaged."""


class SealConflict(DeliveryError):
    """A batch of this seal is stored already, and it is not the same; seal again under the next number."""


class BatchTaken(DeliveryError):
    """The journal refused a line: somebody else wrote to this batch since we read it."""


class NoCredentials(DeliveryError):
    """No credentials for a mail provider were found, or they can't be renewed now; messages wait."""

    transient = True


class HandOverForbidden(DeliveryError):
    """Raised by an AnswerSink in `about_to_complete`: the transport must not complete this message."""
