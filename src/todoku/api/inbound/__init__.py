"""Inbound: the address at which mail providers call, `/inbound/<provider>/<token>`.

Purpose     let a call in, in bounds, hand it to `todoku.sources.webhook`, and say what became of it.
Reads       calls over HTTP; who takes them is set by `ports.connect`.
Writes      nothing of its own.
Guarantees  - neither Django nor a database is in the way: calls are taken and mails kept while PostgreSQL is away.
            - no octet of a body is kept before the token is known; no more than 256 MB of bodies are in memory, what is
              more is put off (503, Retry-After). A client that is slow, endless or gone hurts only itself.
            - a POST below /inbound/ is answered by 200 or 503, whatever happens (why: `todoku.sources.webhook`).
Settings    none; `ports.connect` is called once per process by config, and the application is wrapped in InboundDoor.
Limits      anymail's own views are not used: they answer a wrong password by 400, decode a raw mail to text (bytes that
            are no UTF-8 are lost) and can't read one of more than 2.5 MB. Its message makes a mail of the pieces
            where a provider sends only those (`rebuild`), and needs the extra `anymail`.
"""
