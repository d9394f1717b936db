"""Incidents that can be played: the faults, and soon the drills that use them.

Purpose     put a fault between two real programs, as often and as exactly as a test, a bench or a drill wants it.
Reads       nothing.
Writes      nothing.
Guarantees  a fault ends when it is told to, or with the process that made it; no setting of the host is touched.
Known limits  loopback only: what crosses a real network card is not slowed.
"""
