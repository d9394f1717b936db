"""SMTP: the door at which mail servers knock, speaking SMTP or LMTP.

Purpose     receive booking mails; say 250 only when vault and bus have them.
Reads       connections; RouteBook for who owns an address.
Writes      through ArrivalWriter.
Guarantees  - 250 after the final dot = one Arrival for each distinct intake address among the recipients, stored.
            - 451 = not kept, the client keeps it; after a partial failure the client's next try may bring a recipient
              a second Arrival, which the reader counts as `duplicate`.
            - while addresses are not loaded every recipient gets 451; nothing is taken for unknown too early.
            - never a relay: recipients of other domains get 550 5.7.1.
            - memory is bounded (limits.max_held_bytes); a client that is slow, noisy or endless hurts only itself.
            - `stop` finishes the mails in hand.
Settings    `limits.DoorLimits`.
Limits      no STARTTLS and no AUTH yet; one process has one event loop.
"""

from todoku.sources.smtp.door import SmtpDoor
from todoku.sources.smtp.limits import DoorLimits

__all__ = ["DoorLimits", "SmtpDoor"]
