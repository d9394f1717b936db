"""Campaigns: what to say, to whom, when; and the planner that makes it happen at the promised minute.

Purpose     keep campaigns and their runs; freeze the audience of a due run before its due second (seal it), hand the
            run to the senders, close its books.
Reads       projects (who signs), guests (who is meant), content (templates), the ledger (what became of it).
Writes      its own tables, by services and planner only; SEND and JOURNAL (through the sealer); KV `runs`.
Guarantees  every change of state is a compare-and-set with one audit line and one log line. No path of the software
            leads to `stopped`: what can't run is late, or `held` with a reason until a person decides.
            A planner may be killed at any instant: its lease runs out, another one seals the run again under the next
            seal number; what the dead one left counts for nothing. From `sealed` on a run needs no database.
Settings    none of its own; the planner's lead, lease and pace of looking are constructor parameters.
Limits      one run a campaign (no repetition yet); the planner looks twice a second, so a pause or a stop reaches the
            senders after at most half a second and one window. The unsubscribe link carries the address, signed, not
            encrypted.
"""
