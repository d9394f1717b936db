"""What the content room says about templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """One thing that is wrong with a template. part: subject, html or text. line: 1-based, 0 when unknown."""

    part: str
    line: int
    message: str
    message_ja: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """One name that a template may use, explained in both languages, with a value to try it with."""

    name: str
    explanation_ja: str
    explanation_en: str
    sample: str | int


class TemplateSource(Protocol):
    """Three templates of one message, for example `campaigns.types.CampaignContent`."""

    @property
    def subject(self) -> str: ...

    @property
    def html(self) -> str: ...

    @property
    def text(self) -> str: ...
