"""Tenants, their shops and the people who work in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from todoku.projects.signatures import sign


class Role(StrEnum):
    """What a member may do; each role is listed with its rights in RIGHTS."""

    OWNER = "owner"
    MANAGER = "manager"
    MARKETER = "marketer"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Right(StrEnum):
    """One thing that a page or a command may ask for."""

    SEE_BOOK = "see_book"
    HANDLE_RESERVATIONS = "handle_reservations"
    SEE_GUESTS = "see_guests"
    EDIT_GUESTS = "edit_guests"
    SEE_CAMPAIGNS = "see_campaigns"
    EDIT_CAMPAIGNS = "edit_campaigns"
    SEND_CAMPAIGNS = "send_campaigns"
    SEE_RAW_MAIL = "see_raw_mail"
    OPERATE = "operate"
    MANAGE_MEMBERS = "manage_members"


_SEE = frozenset({Right.SEE_BOOK, Right.SEE_CAMPAIGNS})
_MANAGE = _SEE | {
    Right.HANDLE_RESERVATIONS,
    Right.SEE_GUESTS,
    Right.EDIT_GUESTS,
    Right.EDIT_CAMPAIGNS,
    Right.SEND_CAMPAIGNS,
    Right.SEE_RAW_MAIL,
}
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.OWNER: frozenset(Right),
    Role.MANAGER: _MANAGE,
    Role.MARKETER: _SEE | {Right.SEE_GUESTS, Right.EDIT_CAMPAIGNS, Right.SEND_CAMPAIGNS},
    Role.OPERATOR: _SEE | {Right.SEE_RAW_MAIL, Right.OPERATE, Right.HANDLE_RESERVATIONS},
    Role.VIEWER: _SEE,
}


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """One tenant. sender_*: how its campaigns sign; postal_address and contact: the law asks for them.

    requires_approval: a campaign leaves only after a second person has said so.
    """

    id: str
    name: str
    time_zone: str
    sender_name: str
    sender_address: str
    postal_address: str
    contact: str
    requires_approval: bool = False


@dataclass(frozen=True, slots=True)
class ShopInfo:
    """One shop. code: the tenant's own short name. site_names: how each site writes its name or code."""

    code: str
    name: str
    site_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Membership:
    """One person in one project."""

    user_id: int
    email: str
    display_name: str
    project_id: str
    role: Role

    @property
    def signature(self) -> str:
        """Return how this member's acts are signed."""
        return sign(self.display_name, self.email)

    def may(self, right: Right) -> bool:
        """Tell whether this member's role carries the right."""
        return right in RIGHTS[self.role]


@dataclass(frozen=True, slots=True)
class IntakeAddressInfo:
    """One address at which mail arrives. shop_code and site: what it was made for, None when it says nothing.

    accepted_until_utc: None = in use; else it was replaced, and what comes after that moment is quarantined.
    """

    project_id: str
    local_part: str
    shop_code: str | None
    site: str | None
    created_at_utc: datetime
    accepted_until_utc: datetime | None = None

    def is_retired(self, now_utc: datetime) -> bool:
        """Tell whether mail to it is quarantined by now."""
        return self.accepted_until_utc is not None and now_utc >= self.accepted_until_utc


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation left: the replaced address with its end, and the one to enter at the booking site."""

    old: IntakeAddressInfo
    new: IntakeAddressInfo
