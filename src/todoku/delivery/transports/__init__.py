"""Transports: how messages leave. One folder a kind: smtp, ses, null; failover stands over several of them.

Each passes `conformance.check_transport`, or `http_conformance.check_http_transport` when it sends requests.

Purpose     hand composed messages over, and give the one true answer for each.
Reads       nothing.
Writes      the outside world.
Guarantees  one answer an envelope, never an exception; TEMPORARY promises that the message was not accepted.
Settings    TODOKU_RELAY_URL, TODOKU_TRANSPORTS, TODOKU_MESSAGE_MAX_OCTETS, read by `opening`; docs/transports.md
Known limits  what needs Django stands outside, in `delivery.providers`.
"""
