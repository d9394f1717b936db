"""Credentials: everything that Todoku logs in with, how long it lives, what became of it, and how it is renewed.

Purpose     an inventory of credentials, encrypted, with the facts of each; the ordered lists that sources log in with;
            renewal at two thirds of a life, proven by a real login before the old secret is given up.
Reads       KV `credentials`; keys for secrets from TODOKU_SECRETS_KEYS or `<home>/secrets.key`.
Writes      KV `credentials` (`<project>.<id>`, and `<project>.<id>.notes` for uses and refusals).
Guarantees  - a secret lies on the bus only encrypted, and is in no log line, page, error or answer of this room.
            - a renewed secret is a candidate until a server accepted it; the old one stays beside it until then.
            - every use, refusal and try to renew is written down with its time.
            - no database: credentials work, and are renewed, while PostgreSQL is away.
Limits      who may read this process's memory or its key file may read the secrets.
"""
