"""Campaigns: what to say, to whom, when; and the planner that makes it happen at the promised minute.

Purpose     keep campaigns, once or repeating, and their runs; freeze the audience of a due run before its due second
            (seal it), hand the run to the senders, close its books; say what was late or missed, and help.
Reads       projects (who signs), guests (who is meant), content (templates), the ledger (what became of it).
Writes      its own tables, by services and planner only; SEND and JOURNAL (through the sealer); KV `runs`.
Guarantees  every change of state is a compare-and-set with one audit line and one log line. No path of the software
            leads to `stopped`: what can't run is late, then `held` or `missed` as its campaign's policy says.
            Each occurrence of a repeating campaign has exactly one numbered run, however many planners look.
            A planner may be killed at any instant: its lease runs out, another one seals the run again under the next
            seal number; what the dead one left counts for nothing. From `sealed` on a run needs no database.
Settings    none of its own; the planner's lead, lease and pace of looking are constructor parameters.
Limits      the planner looks twice a second, so a pause or a stop reaches the senders after at most half a second and
            one window. The unsubscribe link carries the address, signed, not encrypted.

services (drafting, scheduling, control, remedies, rehearsal) is what people do; queries (run_rows, overviews) what they
see; occurrences, repeat_check, plan_check, policies are pure; occurrence_desk, following, undelivered and transitions
are what the planner (planner, run_store, sealing, ...) builds on.
"""
