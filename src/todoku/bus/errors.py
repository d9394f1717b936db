"""Errors of the bus.

BusError
  ├─ BusUnavailable    transient: NATS can't be reached or refused; nothing was stored
  ├─ PublishUnknown    transient: no answer in time; the message may be stored, retry with the same message_id
  │    └─ IdInProcess  a cluster is storing this id just now, or lost it with its leader
  ├─ SequenceConflict  permanent: another writer owns this subject
  ├─ KeyExists         permanent: the key of a bucket has a value already
  ├─ RevisionConflict  permanent: the key was changed by another since it was read
  └─ MessageTooLarge   permanent: more bytes than NATS takes
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class BusError(TodokuError):
    """Root of this room's errors."""


class BusUnavailable(BusError):
    """NATS can't be reached, or it refused before storing anything."""

    transient = True


class PublishUnknown(BusError):
    """No answer came in time or the connection broke: the message may be stored or not."""

    transient = True


class IdInProcess(PublishUnknown):
    """The cluster has begun to store a message of this id and has not finished."""


class SequenceConflict(BusError):
    """The subject's last message is not the expected one: somebody else wrote to it."""


class KeyExists(BusError):
    """A create found a value under its key."""


class RevisionConflict(BusError):
    """An update found another revision than the one it was based on."""


class MessageTooLarge(BusError):
    """The message is larger than the server's limit; keep the bytes in the vault and publish the key."""
