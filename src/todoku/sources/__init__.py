"""Sources: where booking mails come from. Whatever the way, a mail ends as an Arrival on the MAIL stream.

Purpose     take mails from outside, keep them byte for byte, and only then say to the other side that they are kept.
Reads       SMTP and LMTP connections (`smtp`), files (`files`), KV `addresses` (which address belongs to whom); places
            from which mails are fetched (`maildir`), looked at by `collecting`.
Writes      the vault (raw bytes), stream MAIL (`mail.<project>.<source>`), KV `arrived` (which mails of a source have).
Guarantees  - a mail is acknowledged only after the vault and the bus have it; both survive a power cut.
            - handing the same mail over again makes a second Arrival with the same vault key, never a lost one; the
              reader counts it as `duplicate`.
            - a mail to an unknown address of our domain is kept under the project `_unrouted`, not bounced.
            - one bad mail, file or client never stops the next.
Settings    TODOKU_SMTP_LISTEN, TODOKU_MAIL_DOMAIN (read by `config`); limits in `smtp.limits`.
Limits      STARTTLS is not offered yet: put the door behind an MTA, or on a private network. IMAP, POP3, S3 and
            webhooks are not here yet; no role collects from places yet.
"""
