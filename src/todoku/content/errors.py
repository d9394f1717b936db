"""Errors of the content room.

ContentError
  └─ TemplateInvalid   permanent: the templates can't be compiled; carries every problem with its line
"""

from __future__ import annotations

from collections.abc import Sequence

from todoku.content.types import TemplateProblem
from todoku.kernel.errors import TodokuError


class ContentError(TodokuError):
    """Root of this room's errors."""


class TemplateInvalid(ContentError):
    """A template can't be compiled, or uses what templates may not use."""

    def __init__(self, problems: Sequence[TemplateProblem]) -> None:
        self.problems = tuple(problems)
        listed = "; ".join(f"{problem.part} line {problem.line}: {problem.message}" for problem in self.problems)
        super().__init__(f"the templates can't be used: {listed}", todo="correct the named lines")
