"""Credentials: what Todoku logs in with and what its doors show, how long it lives, what became of it, its renewal.

Purpose     an inventory of credentials, encrypted, with the facts of each; the ordered lists that sources log in with;
            renewal at two thirds of a life, proven before the old secret is given up: by a real login, or for
            certificates that our doors show by a handshake in memory. Rows of what the installation shows
            (`installation`): certificates and DKIM keys, as the processes that use them tell (`witness`).
Reads       KV `credentials`; keys for secrets from TODOKU_SECRETS_KEYS or `<home>/secrets.key`; `<home>/dkim`; DNS,
            when somebody asks; authorities of certificates (`acme`).
Writes      KV `credentials`: `<project>.<id>`, and `<project>.<id>.notes` for uses and refusals; `_installation.<id>`
            for certificates of our doors; `_seen.<role>.<place>` for what a process sees; `_dns.<record>` for what DNS
            said; `_challenge.<token>.answer` while an order is under way. `<home>/tls/<id>.pem` for the door.
Guarantees  - a secret lies on the bus only encrypted, and is in no log line, page, error or answer of this room.
            - a renewed secret is a candidate until a server accepted it; the old one stays beside it until then.
            - every use, refusal and try to renew is written down with its time.
            - no database: credentials work, and are renewed, while PostgreSQL is away.
            - what a process shows is told by that process alone; when it is silent, its rows say since when.
            - an authority's answers can't send us to another server than its directory's (SSRF).
Limits      who may read this process's memory or its key file may read the secrets; the file of a door's certificate
            holds its key in clear. No DNS-01, so no wildcards. Renewal by ACME runs in the role `intake`.
"""
