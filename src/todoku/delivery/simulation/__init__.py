"""Simulation: the real senders in a made-up world; one seed is one world, and the same seed the same world again.

Purpose     show that the delivery protocol holds I1-I6 (docs/delivery.md) whatever dies, stalls, breaks or lies in
            between, and that one would notice if it did not: bugs can be planted (`bugs`).
Reads       nothing. Writes nothing but its report.
Guarantees  - Sender, visits, lease, journal, paces, and the bus with its consumers and buckets are the real code,
              unchanged, in a real asyncio on virtual time. Made up are: clocks, the NATS server behind the link,
              the relay with the transport to it, the disk under the notes, templates, and the planner's part.
            - The simulated bus passes the same `bus.conformance.check_bus` as the real one.
            - A seed repeats event for event, on any machine with the same code.
Settings    none; `python -m todoku.delivery.simulation --help`
Limits      a seed has up to three machines, three runs, some dozens of people (one in 400: up to 1,200), and time goes
            faster than in life: leases of 0.6-3 s, rests of at most 1.5 s. Notes are kept in memory, not in files;
            KV watches are told by the made-up server instead of polling. docs/simulation.md.
"""
