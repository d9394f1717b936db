"""What people do with campaigns; the only writes of this room besides the planner's.

Every function is one transaction and a compare-and-set: of two people who press at once one wins, the other is told
(WrongState). Each leaves an audit line and a log line of the same name.

write      create, update, duplicate                                    drafting
leave      schedule, reschedule, send_now, back_to_draft                scheduling
control    pause, resume, stop, approve                                 control
repair     send_run_now, skip_run, send_to_not_reached, acknowledge, remedy   remedies
try        test_send                                                    rehearsal
"""

from __future__ import annotations

from todoku.campaigns.control import approve, pause, resume, stop
from todoku.campaigns.drafting import create, duplicate, update
from todoku.campaigns.rehearsal import send_test as test_send
from todoku.campaigns.remedies import (
    NOT_REACHED,
    REMEDIES,
    acknowledge,
    remedy,
    send_run_now,
    send_to_not_reached,
    skip_run,
)
from todoku.campaigns.scheduling import back_to_draft, reschedule, schedule, send_now

__all__ = [
    "NOT_REACHED",
    "REMEDIES",
    "acknowledge",
    "approve",
    "back_to_draft",
    "create",
    "duplicate",
    "pause",
    "remedy",
    "reschedule",
    "resume",
    "schedule",
    "send_now",
    "send_run_now",
    "send_to_not_reached",
    "skip_run",
    "stop",
    "test_send",
    "update",
]
