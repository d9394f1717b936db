"""Transports: how messages leave. One folder a kind; each passes `conformance.check_transport`.

Purpose     hand composed messages over, and give the one true answer for each.
Reads       nothing.
Writes      the outside world.
Guarantees  one answer an envelope, never an exception; TEMPORARY promises that the message was not accepted.
"""
