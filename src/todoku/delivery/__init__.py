"""Delivery: campaigns that leave at their minute, and send exactly what was planned.

Purpose     take a sealed run to its recipients and keep the books: planned = the sum of named states, always.
Reads       KV `runs`, `stops` and `paces`, SEND, JOURNAL.
Writes      SEND (sealing), JOURNAL, the relay, the ledger's tables.
Guarantees  a message is completed towards the relay at most once per run unless every earlier attempt was refused
            for certain; who was in flight when a process died is `unknown`, named, and never sent again by itself;
            the database is not needed between the seal and the end of a run.
Settings    TODOKU_RELAY_URL, TODOKU_TRANSPORTS, TODOKU_MESSAGE_MAX_OCTETS; engine.options.SenderOptions
Known limits  one recipient a message; docs/delivery.md and docs/transports.md have the rest.

Rooms inside: `engine` (the protocol, no Django), `transports` (how messages leave), `providers` (the same,
over django-anymail), `signing` (DKIM), `ledger` (a Django app).
"""
