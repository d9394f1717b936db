"""Kill and pause everything while twenty runs send, round after round; the sink's own count is the judge.

    python -m tests.chaos.everything [--rounds N] [--first SEED] [--same] [--json]

Purpose     hold I1-I6 of docs/delivery.md against the whole program: senders, planner, projector, NATS, PostgreSQL.
Reads       the sink's list of (run, recipient), the ledger's rows.
Writes      a temporary home.
Guarantees  a round is made by its seed: which process meets which fault when, and for how long. Where in the work it
            falls depends on the machine, so a failing seed fails often, not always.
            From the middle of the rounds on, a second planner and a second projector are at work too.
"""
