"""Api: the same rooms as the pages show, as JSON over HTTP for programs.

Purpose     let a program plan, send and watch campaigns: `/api/v1/...`, described by `/api/v1/openapi.json`.
Reads       `queries` of campaigns, guests and the ledger; its own keys.
Writes      through `services` of the rooms; its own keys and what was answered to calls with an Idempotency-Key.
Guarantees  a key opens one project and nothing else; its secret is kept as a hash only. Sessions and cookies mean
            nothing here. A call with an Idempotency-Key is done once: what it did and what was answered are one
            transaction, so that a repetition after a lost answer gets the same answer. Every error is a problem
            document (RFC 9457) with a stable `code`.
Settings    none of its own; `ports.connect` is called once per process by config.
Limits      approving is a person's act and needs the pages or the command line. No rate limit yet.
"""
