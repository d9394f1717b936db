"""Messages that wait for a connection, taken by turns between flows.

Deficit round robin by octets (Shreedhar and Varghese, 1996), with the rule of RFC 8290 section 4.2 that a flow which
has just come is served before those that have had their turn: the first message of a small run leaves with the next
free slot, beside a run of millions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from todoku.delivery.transports.smtp.job import Handover, Job

QUANTUM_BYTES = 16 * 1024  # four usual campaign messages a turn


class _Flow:
    __slots__ = ("credit_bytes", "jobs", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: deque[Job] = deque()
        self.credit_bytes = QUANTUM_BYTES


class FairQueue:
    """First come, first served within a flow; turns of `QUANTUM_BYTES` between flows.

    A message larger than a flow's credit leaves all the same and is paid for by the turns after it.
    """

    def __init__(self) -> None:
        self._flows: dict[str, _Flow] = {}
        self._new: deque[_Flow] = deque()
        self._old: deque[_Flow] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, jobs: Iterable[Job], flow: str) -> None:
        """Let the jobs wait behind those of their flow."""
        line = self._flow(flow).jobs
        before = len(line)
        line.extend(jobs)
        self._waiting += len(line) - before

    def put_front(self, job: Job) -> None:
        """Let a job wait in front of those of its flow: it has had its turn before."""
        self._flow(job.handover.flow).jobs.appendleft(job)
        self._waiting += 1

    def pop(self) -> Job | None:
        """Return the job whose turn it is, None when none waits."""
        while True:
            ring = self._new or self._old
            if not ring:
                return None
            flow = ring[0]
            if flow.credit_bytes > 0 and flow.jobs:
                job = flow.jobs.popleft()
                flow.credit_bytes -= len(job.envelope.content)
                self._waiting -= 1
                return job
            if flow.credit_bytes > 0:
                self._leave(ring, flow)
            else:
                flow.credit_bytes += QUANTUM_BYTES
                ring.popleft()
                self._old.append(flow)

    def take_handover(self, handover: Handover) -> list[Job]:
        """Take out what waits of one handover, in order."""
        flow = self._flows.get(handover.flow)
        if flow is None:
            return []
        taken = [job for job in flow.jobs if job.handover is handover]
        flow.jobs = deque(job for job in flow.jobs if job.handover is not handover)
        self._waiting -= len(taken)
        return taken

    def take_all(self) -> list[Job]:
        """Take out everything."""
        taken = [job for flow in self._flows.values() for job in flow.jobs]
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self._waiting = 0
        return taken

    def _flow(self, name: str) -> _Flow:
        flow = self._flows.get(name)
        if flow is None:
            flow = self._flows[name] = _Flow(name)
            self._new.append(flow)
        return flow

    def _leave(self, ring: deque[_Flow], flow: _Flow) -> None:
        """Take the empty flow out; one that has only just come waits a turn, so that coming again gains nothing."""
        ring.popleft()
        if ring is self._new and self._old:
            self._old.append(flow)
        else:
            del self._flows[flow.name]
