"""Bus: work, journal and events between processes, on NATS JetStream.

Purpose     one small typed door to JetStream, so that no other room knows its wire, its time-outs or its reconnects.
Reads       the streams and buckets of `bus.streams`.
Writes      the same; nothing outside NATS.
Guarantees  - a publish that returned a sequence is stored (and fsynced, when NATS runs with `sync_interval: always`).
            - a publish that raised BusUnavailable stored nothing; one that raised PublishUnknown may have.
            - fencing: with `expected_last_subject_sequence` at most one writer of a subject wins; a retry of the
              winner's own message (same message_id) is recognised and answered with its sequence.
            - nothing waits for ever: every call has a time limit, also while NATS is away. The connection itself
              comes back for ever, with all subscriptions.
            - in a cluster: another server is taken when this one fails or serves nothing; last messages and values are
              the leader's word; a refusal counts only when it is decided.
Settings    TODOKU_NATS_URL, TODOKU_NATS_REPLICAS (read by `config`).
Limits      message_id is remembered per stream for the duplicate window (120 s), also for purged messages: an id is
            used for one message only, and contains no `~`. In a cluster `messages` may miss the newest ones, for any
            copy may answer. Acks of consumers are stored lazily by NATS: after a crash of NATS some messages come
            again, so every consumer is idempotent. Deleted keys of a bucket leave a small marker.
"""
