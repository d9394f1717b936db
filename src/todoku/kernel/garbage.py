"""How often Python looks for circles of garbage.

What a sender makes for each message is freed by counting references; only rare things (a broken connection, an error
with its traceback) leave circles. Looking for them every 700 new containers, Python's default, took 15-20 % of the CPU
time of sending (`bench/send.py`, 60,000 messages: 39 instead of 47 us each).
"""

from __future__ import annotations

import gc

_NEW_CONTAINERS = 50_000  # about 10 MB at most wait to be looked at


def collect_rarely() -> None:
    """Leave what is there by now alone for ever, and look through new things once in 50,000. Idempotent.

    Older things are looked through as often, in proportion, as by default: other roles may share the process, and
    theirs leave circles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS, 10, 10)
