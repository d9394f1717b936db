"""Fail-over: several relays in order; the next one takes what the one before certainly did not.

Purpose     keep runs on time while a relay is away.
Reads       nothing.
Writes      whatever its transports write.
Guarantees  a message goes to the next relay only when the one before answered TEMPORARY with `relay_failed` and its end
            was never written; UNKNOWN stays UNKNOWN. A message whose end was written and which the relay then turned
            down is answered TEMPORARY, and the caller's next attempt finds the way over the next relay.
Settings    TODOKU_RELAY_URL = several URLs, separated by commas
Known limits  no weights: the first that works takes everything. Each process finds out for itself.
"""

from todoku.delivery.transports.failover.transport import FailOverTransport

__all__ = ["FailOverTransport"]
