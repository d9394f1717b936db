"""Errors of the simulator; none of them is meant for the code under simulation.

SimulationStuck   endless events without time going on
ProcessKilled     kill -9: thrown through whatever a simulated process does just now, caught by its event loop only
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class SimulationStuck(TodokuError):
    """A simulated process spins without waiting."""


class ProcessKilled(BaseException):
    """A simulated process dies here; not an Exception, so that no handler of the code under test takes it."""
