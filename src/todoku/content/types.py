"""What the content room says about templates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """One thing that is wrong with a template. part: subject, html or text. line: 1-based, 0 when unknown."""

    part: str
    line: int
    message: str
