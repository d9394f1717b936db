"""Reads of the projects room."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from todoku.projects.errors import ProjectMissing
from todoku.projects.models import IntakeAddress, Member, Project, Shop, User
from todoku.projects.types import IntakeAddressInfo, Membership, ProjectInfo, Role, ShopInfo


def get_project(project_id: str) -> ProjectInfo:
    """Return the project; raises ProjectMissing."""
    row = Project.objects.filter(id=project_id).first()
    if row is None:
        raise ProjectMissing(f"there is no project {project_id!r}")
    return ProjectInfo(
        id=row.id,
        name=row.name,
        time_zone=row.time_zone,
        sender_name=row.sender_name,
        sender_address=row.sender_address,
        postal_address=row.postal_address,
        contact=row.contact,
        requires_approval=row.requires_approval,
    )


def list_project_ids() -> list[str]:
    """Return the ids of all projects, in alphabetical order; for the roles, never for a page."""
    return list(Project.objects.order_by("id").values_list("id", flat=True))


def list_shops(project_id: str) -> list[ShopInfo]:
    """Return the project's shops in the order in which pages show them."""
    rows = Shop.objects.filter(project_id=project_id)
    return [ShopInfo(code=row.code, name=row.name, site_names=tuple(row.site_names)) for row in rows]


def list_memberships(user_id: int) -> list[Membership]:
    """Return in which projects this person works, and as what."""
    rows = Member.objects.filter(user_id=user_id, user__is_active=True).select_related("user").order_by("project_id")
    return [_membership(row) for row in rows]


def list_members(project_id: str) -> list[Membership]:
    """Return who works in this project."""
    rows = Member.objects.filter(project_id=project_id).select_related("user").order_by("user__email")
    return [_membership(row) for row in rows]


def is_known_person(email: str) -> bool:
    """Tell whether somebody signs in with this address already."""
    return User.objects.filter(email=email.strip().casefold()).exists()


def list_intake_addresses(project_id: str | None = None, *, with_replaced: bool = False) -> list[IntakeAddressInfo]:
    """Return the addresses in use: of one project, or of all (for the intake role).

    with_replaced: those too that another has replaced, accepted still or retired; the one in use comes first.
    """
    rows = IntakeAddress.objects.order_by("project_id", "shop_code", "site", "-created_at", "-id")
    if not with_replaced:
        rows = rows.filter(retired_at__isnull=True)
    if project_id is not None:
        rows = rows.filter(project_id=project_id)
    return [address_info(row) for row in rows]


def ends_of_intake_addresses(project_id: str, local_parts: Iterable[str]) -> dict[str, datetime]:
    """Return until when those of these addresses that were replaced are accepted; one statement."""
    rows = IntakeAddress.objects.filter(
        project_id=project_id, retired_at__isnull=False, local_part__in=sorted(set(local_parts))
    )
    return {
        local_part: until for local_part, until in rows.values_list("local_part", "retired_at") if until is not None
    }


def address_info(row: IntakeAddress) -> IntakeAddressInfo:
    """Return the row as other rooms see it."""
    return IntakeAddressInfo(
        project_id=row.project_id,
        local_part=row.local_part,
        shop_code=row.shop_code or None,
        site=row.site or None,
        created_at_utc=row.created_at,
        accepted_until_utc=row.retired_at,
    )


def _membership(row: Member) -> Membership:
    return Membership(
        user_id=row.user_id,
        email=row.user.email,
        display_name=row.user.display_name,
        project_id=row.project_id,
        role=Role(row.role),
    )
