"""Errors of the campaigns room.

CampaignsError
  ├─ CampaignMissing   permanent: no such campaign or run in this project
  ├─ WrongState        permanent: the campaign is in a state in which this can't be done, or somebody was faster
  ├─ NotSchedulable    permanent: something speaks against sending; carries every obstacle
  ├─ NameMissing       permanent: a campaign needs a name
  ├─ ReasonMissing     permanent: stopping needs a reason
  ├─ SecondPersonNeeded  permanent: who wrote or scheduled it can't approve it
  ├─ AudienceUnreadable  transient or not: the audience of a run could not be read to its end
  └─ TokenInvalid      permanent: an unsubscribe link that we did not make
"""

from __future__ import annotations

from collections.abc import Sequence

from todoku.campaigns.types import Obstacle
from todoku.kernel.errors import TodokuError


class CampaignsError(TodokuError):
    """Root of this room's errors."""


class CampaignMissing(CampaignsError):
    """There is no such campaign (or run) in this project."""


class WrongState(CampaignsError):
    """The campaign's state does not allow it; the state may have been changed by somebody else just now."""


class NotSchedulable(CampaignsError):
    """Something speaks against sending this campaign; `obstacles` lists everything at once."""

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = tuple(obstacles)
        super().__init__(
            "the campaign can't be scheduled: " + "; ".join(obstacle.message for obstacle in self.obstacles),
            kept="the campaign as it was",
            todo="remove what is named and schedule it again",
        )

    @property
    def problems(self) -> tuple[Obstacle, ...]:
        """Return the obstacles, each with its message in both languages."""
        return self.obstacles


class NameMissing(CampaignsError):
    """A campaign needs a name, at most 200 characters."""


class ReasonMissing(CampaignsError):
    """A campaign is stopped with a reason: others will ask why."""


class SecondPersonNeeded(CampaignsError):
    """An approval is a second person's word: neither who wrote the words last nor who scheduled them."""


class AudienceUnreadable(CampaignsError):
    """The audience of a run could not be read to its end; what was sealed of it counts for nothing."""


class TokenInvalid(CampaignsError):
    """The token of an unsubscribe link was not made here, or was changed on its way."""
