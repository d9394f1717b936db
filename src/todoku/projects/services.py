"""The only writes of the projects room."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from zoneinfo import available_timezones

import structlog
from django.db import IntegrityError, transaction

from todoku.kernel.clock import Clock
from todoku.kernel.ids import require_subject_token
from todoku.projects.errors import AddressMissing, AddressTaken, ProjectMissing
from todoku.projects.local_parts import new_local_part, require_local_part
from todoku.projects.models import IntakeAddress, Member, Project, Shop, User
from todoku.projects.queries import address_info
from todoku.projects.types import IntakeAddressInfo, ProjectInfo, Role, Rotation, ShopInfo

log = structlog.get_logger(__name__)

ADDRESS_OVERLAP: Final = timedelta(days=90)  # a quarter: a booking site's account is not opened every month


def save_project(info: ProjectInfo, *, clock: Clock) -> None:
    """Create the project, or bring it up to date; doing it again changes nothing.

    Raises ValueError when the id can't be a subject token, begins with `_` (what belongs to no project is kept under
    such names, and nobody's people may read it) or the time zone is not known.
    """
    if info.id.startswith("_"):
        raise ValueError(f"{info.id!r} can't be a project: names that begin with _ are the installation's own")
    if info.time_zone not in available_timezones():
        raise ValueError(f"there is no time zone {info.time_zone!r}: write it like Asia/Tokyo")
    values = {
        "name": info.name,
        "time_zone": info.time_zone,
        "sender_name": info.sender_name,
        "sender_address": info.sender_address,
        "postal_address": info.postal_address,
        "contact": info.contact,
        "requires_approval": info.requires_approval,
    }
    Project.objects.update_or_create(
        id=require_subject_token(info.id),
        defaults=values,
        create_defaults={**values, "created_at": clock.now_utc()},
    )
    log.info("project.saved", project_id=info.id)


def save_shops(project_id: str, shops: list[ShopInfo]) -> None:
    """Create the shops or bring them up to date, in this order; others of the project stay."""
    with transaction.atomic():
        for position, shop in enumerate(shops):
            Shop.objects.update_or_create(
                project_id=project_id,
                code=shop.code,
                defaults={"name": shop.name, "site_names": list(shop.site_names), "position": position},
            )
    log.info("project.shops_saved", project_id=project_id, shops=len(shops))


def save_member(project_id: str, *, email: str, display_name: str, role: Role, password: str | None = None) -> int:
    """Let a person work in the project; returns the user's id.

    An existing person keeps the password unless a new one is given; the role is replaced.
    """
    with transaction.atomic():
        user = User.objects.filter(email=email.strip().casefold()).first()
        if user is None:
            user = User.objects.create_user(email, password, display_name)
        elif password is not None and not user.check_password(password):
            user.set_password(password)
            user.save(update_fields=["password"])
        Member.objects.update_or_create(project_id=project_id, user=user, defaults={"role": role.value})
    log.info("project.member_saved", project_id=project_id, user_id=user.pk, role=role.value)
    return user.pk


def create_intake_address(
    project_id: str, *, shop_code: str | None, site: str | None, clock: Clock, local_part: str | None = None
) -> IntakeAddressInfo:
    """Return the address of one shop and site, and make it when there is none in use.

    local_part: a chosen one instead, which may be guessed; asking again for the same returns the one that is there.
    Raises AddressTaken when it was ever in use for another shop, site or project, ProjectMissing, and ValueError when
    it can't be a local part.
    """
    wanted = require_local_part(local_part) if local_part is not None else None
    try:
        with transaction.atomic():
            _lock(project_id)
            row = _in_use(project_id, shop_code, site) if wanted is None else None
            if row is None:
                row = _make(project_id, shop_code, site, clock=clock, local_part=wanted)
    except IntegrityError as error:
        raise AddressTaken(f"the address {wanted!r} belongs to another shop or project") from error
    return address_info(row)


def rotate_intake_address(
    project_id: str, local_part: str, *, clock: Clock, overlap: timedelta = ADDRESS_OVERLAP
) -> Rotation:
    """Give the shop and site of this address a new one; the old one is accepted for the overlap.

    Afterwards mail to the old one is kept and quarantined in its project. Rotating again what was replaced changes
    nothing and returns the same two, so that a lost answer costs nothing. One transaction: killed at any point, both
    are there or neither. Raises AddressMissing, ProjectMissing, and ValueError for an overlap below zero.
    """
    if overlap < timedelta(0):
        raise ValueError("an overlap can't be negative: 0 retires the old address at once")
    with transaction.atomic():
        _lock(project_id)
        old = _find(project_id, local_part)
        fresh = old.retired_at is None
        if fresh:
            old.retired_at = clock.now_utc() + overlap
            old.save(update_fields=["retired_at"])
        new = None if fresh else _in_use(project_id, old.shop_code, old.site)
        if new is None:
            new = _make(project_id, old.shop_code, old.site, clock=clock)
    if fresh:
        log.info("project.address_rotated", project_id=project_id, shop_code=old.shop_code, site=old.site)
    return Rotation(old=address_info(old), new=address_info(new))


def retire_intake_address(project_id: str, local_part: str, *, clock: Clock) -> IntakeAddressInfo:
    """Accept nothing more at this address from now on; idempotent, an earlier end stays. Raises AddressMissing."""
    now_utc = clock.now_utc()
    with transaction.atomic():
        _lock(project_id)
        row = _find(project_id, local_part)
        if row.retired_at is None or row.retired_at > now_utc:
            row.retired_at = now_utc
            row.save(update_fields=["retired_at"])
            log.info("project.address_retired", project_id=project_id, shop_code=row.shop_code, site=row.site)
    return address_info(row)


def set_language(user_id: int, language: str) -> None:
    """Remember in which language this person reads pages: "ja" or "en"."""
    if language not in {"ja", "en"}:
        raise ValueError(f"language must be ja or en, not {language!r}")
    User.objects.filter(pk=user_id).update(language=language)


def _lock(project_id: str) -> None:
    """Let one after the other change the project's addresses, so that a shop and site never get two at once."""
    if Project.objects.select_for_update().filter(id=project_id).first() is None:
        raise ProjectMissing(f"there is no project {project_id!r}")


def _find(project_id: str, local_part: str) -> IntakeAddress:
    row = IntakeAddress.objects.filter(project_id=project_id, local_part=local_part.casefold()).first()
    if row is None:
        raise AddressMissing(f"this project has no address {local_part!r}")
    return row


def _in_use(project_id: str, shop_code: str | None, site: str | None) -> IntakeAddress | None:
    """Return the newest one in use: older releases made a second when they were asked twice."""
    rows = IntakeAddress.objects.filter(
        project_id=project_id, shop_code=shop_code or "", site=site or "", retired_at__isnull=True
    )
    return rows.order_by("-created_at", "-id").first()


def _make(
    project_id: str, shop_code: str | None, site: str | None, *, clock: Clock, local_part: str | None = None
) -> IntakeAddress:
    row, created = IntakeAddress.objects.get_or_create(
        local_part=local_part or new_local_part(shop_code, site),
        project_id=project_id,
        shop_code=shop_code or "",
        site=site or "",
        defaults={"created_at": clock.now_utc()},
    )
    if created:
        log.info("project.address_created", project_id=project_id, shop_code=shop_code, site=site)
    return row
