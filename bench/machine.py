"""What the kernel says about processes and cores, for benches: CPU time, memory, and what was the bottleneck."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of those that it started and that still live."""
    own = [fields for fields in _all_stats() if pid in fields[:2]]
    return sum(ticks for _, _, _, ticks in own) / _TICKS


def busy_seconds() -> float:
    """Return the CPU time that all cores have worked, for whomever, also for other guests of the host."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICKS


def peak_rss_mb(pid: int) -> float:
    """Return the most memory that the process ever had resident, with those that it started and that still live."""
    family = [fields[0] for fields in _all_stats() if pid in fields[:2]]
    return round(sum(_own_mb(one, "VmHWM:") for one in family), 1)


def resident_mb(pid: int) -> float:
    """Return the memory that the process has resident now."""
    return round(_own_mb(pid, "VmRSS:"), 1)


def _own_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def children_named(name: str) -> dict[str, int]:
    """Return the pid of this process's own child whose program is called so, by that name; {} when there is none."""
    pids = [pid for pid, parent, program, _ in _all_stats() if parent == os.getpid() and program == name]
    return {name: pids[0]} if pids else {}


def _all_stats() -> Iterator[tuple[int, int, str, int]]:
    """Yield pid, parent, program and ticks of CPU time of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            begin, _, end = path.read_text().rpartition(")")
        except OSError:
            continue  # it has ended
        fields = end.split()
        pid, _, program = begin.partition(" (")
        yield int(pid), int(fields[1]), program, int(fields[11]) + int(fields[12])


def bottleneck(wall_seconds: float, busy: float, spent: dict[str, float]) -> str:
    """Return what saturated: all cores, else the process that held one core, else waiting (disk, turns).

    busy: CPU seconds of the whole machine meanwhile. spent: CPU seconds of our processes, by name.
    """
    cores = len(os.sched_getaffinity(0))
    name, most = max(spent.items(), key=lambda one: one[1])
    if busy > 0.85 * cores * wall_seconds:
        return f"all {cores} cores"
    if most > 0.85 * wall_seconds:
        return f"one core of {name}"
    return f"waiting: cores were busy for {busy / cores / wall_seconds:.0%} of the time"
