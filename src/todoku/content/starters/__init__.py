"""Starter templates: a pleasant first mail for a restaurant group, in Japanese and in English."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

LANGUAGES = ("ja", "en")


@dataclass(frozen=True, slots=True)
class Starter:
    """One ready-made message. language: ja or en. Fits `content.types.TemplateSource`."""

    language: str
    subject: str
    html: str
    text: str


def load_starter(language: str) -> Starter:
    """Return the starter in this language; raises KeyError for a language other than ja and en.

    Tables for layout and inline styles, because Outlook and the mail apps of Japanese carriers ignore most of CSS;
    colours that stay readable when a mail program inverts them for dark mode.
    """
    if language not in LANGUAGES:
        raise KeyError(language)
    folder = resources.files(__name__)
    return Starter(
        language=language,
        subject=folder.joinpath(f"welcome-back.{language}.subject.txt").read_text(encoding="utf-8").strip(),
        html=folder.joinpath(f"welcome-back.{language}.html").read_text(encoding="utf-8"),
        text=folder.joinpath(f"welcome-back.{language}.txt").read_text(encoding="utf-8"),
    )
