"""SMTP: the door at which mail servers knock, speaking SMTP or LMTP.

Purpose     receive booking mails; say 250 only when vault and bus have them.
Reads       connections; RouteBook for who owns an address; the certificate and its key.
Writes      through ArrivalWriter.
Guarantees  - 250 after the final dot = one Arrival for each distinct intake address among the recipients, stored.
            - 451 = not kept, the client keeps it; after a partial failure the client's next try may bring a recipient
              a second Arrival, which the reader counts as `duplicate`.
            - while addresses are not loaded every recipient gets 451; nothing is taken for unknown too early.
            - never a relay: recipients of other domains get 550 5.7.1.
            - memory is bounded (limits.max_held_bytes); a client that is slow, noisy or endless hurts only itself.
            - a limit answers 421 or 452, never 5xx: it puts a mail off and costs none.
            - STARTTLS when there is a certificate (RFC 3207, from TLS 1.2 on). What a stranger wrote behind STARTTLS in
              the clear is dropped (CVE-2011-0411). A failed handshake ends its own connection only.
            - a renewed certificate is used for the next handshake without a restart; a broken or expired one is not
              taken, and the old one stays in use.
            - `stop` finishes the mails in hand.
Settings    `limits.DoorLimits`; TODOKU_SMTP_CERTIFICATE, TODOKU_SMTP_CERTIFICATE_KEY, TODOKU_SMTP_TRUSTED (read by
            `config`).
Limits      no AUTH, no client certificates, no PROXY protocol; counts are of one process, which has one event loop.
"""

from todoku.sources.smtp.certificate import CertificateFacts, CertificateStanding, ServedCertificate
from todoku.sources.smtp.door import SmtpDoor
from todoku.sources.smtp.limits import DoorLimits

__all__ = ["CertificateFacts", "CertificateStanding", "DoorLimits", "ServedCertificate", "SmtpDoor"]
