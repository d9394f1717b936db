"""Errors of the projects room.

ProjectsError
  ├─ ProjectMissing   permanent: no such project, or not yours
  ├─ AddressTaken     permanent: this intake address belongs to somebody already
  └─ AddressMissing   permanent: the project has no such intake address
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class ProjectsError(TodokuError):
    """Root of this room's errors."""


class ProjectMissing(ProjectsError):
    """There is no such project, or this person is not a member of it; the two are not told apart on purpose."""


class AddressTaken(ProjectsError):
    """The intake address is in use."""


class AddressMissing(ProjectsError):
    """The project has no such intake address; one of another project is not told apart."""
