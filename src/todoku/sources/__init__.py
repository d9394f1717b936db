"""Sources: where booking mails come from. Whatever the way, a mail ends as an Arrival on the MAIL stream.

Purpose     take mails from outside, keep them byte for byte, and only then say to the other side that they are kept.
Reads       SMTP and LMTP connections (`smtp`), calls of mail providers (`webhook`), files (`files`), KV `addresses`
            (which address belongs to whom), KV `sources` (what a project has named: `registry`, `kinds`); places from
            which mails are fetched (`imap`, `pop3`, `s3`, `maildir`), looked at by `collecting`, each by one process
            (`fleet`).
Writes      the vault (raw bytes), stream MAIL (`mail.<project>.<source>`), KV `arrived` (which mails of a source have),
            `looks` (how each stands), `owners` (who collects it).
Guarantees  - a mail is acknowledged only after the vault and the bus have it; both survive a power cut.
            - handing the same mail over again makes a second Arrival with the same vault key, never a lost one; the
              reader counts it as `duplicate`.
            - a mail to an unknown address of our domain is kept under the project `_unrouted`, not bounced.
            - one bad mail, file or client never stops the next.
Settings    TODOKU_SMTP_LISTEN, TODOKU_SMTP_CERTIFICATE, TODOKU_MAIL_DOMAIN (read by `config`); limits in `smtp.limits`.
Limits      in each kind's own manual page.
"""
