"""The only writes of the projects room."""

from __future__ import annotations

import base64
import secrets
from zoneinfo import available_timezones

import structlog
from django.db import IntegrityError, transaction

from todoku.kernel.clock import Clock
from todoku.kernel.ids import require_subject_token
from todoku.projects.errors import AddressTaken
from todoku.projects.models import IntakeAddress, Member, Project, Shop, User
from todoku.projects.types import IntakeAddressInfo, ProjectInfo, Role, ShopInfo

log = structlog.get_logger(__name__)


def save_project(info: ProjectInfo, *, clock: Clock) -> None:
    """Create the project, or bring it up to date; doing it again changes nothing.

    Raises ValueError when the id can't be a subject token or the time zone is not known.
    """
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


def new_local_part() -> str:
    """Return an unguessable local part: `r-` and 26 characters that carry 128 random bits."""
    return "r-" + base64.b32encode(secrets.token_bytes(16)).decode("ascii").rstrip("=").lower()


def create_intake_address(
    project_id: str, *, shop_code: str | None, site: str | None, clock: Clock, local_part: str | None = None
) -> IntakeAddressInfo:
    """Make an address for one shop and site; raises AddressTaken when a given local part is in use elsewhere.

    Asking again for the same project, shop, site and given local part returns the one that is there.
    """
    wanted = (local_part or new_local_part()).casefold()
    try:
        with transaction.atomic():
            row, created = IntakeAddress.objects.get_or_create(
                local_part=wanted,
                project_id=project_id,
                shop_code=shop_code or "",
                site=site or "",
                defaults={"created_at": clock.now_utc()},
            )
    except IntegrityError as error:
        raise AddressTaken(f"the address {wanted!r} belongs to another shop or project") from error
    if created:
        log.info("project.address_created", project_id=project_id, shop_code=shop_code, site=site)
    return IntakeAddressInfo(project_id=project_id, local_part=row.local_part, shop_code=shop_code, site=site)


def set_language(user_id: int, language: str) -> None:
    """Remember in which language this person reads pages: "ja" or "en"."""
    if language not in {"ja", "en"}:
        raise ValueError(f"language must be ja or en, not {language!r}")
    User.objects.filter(pk=user_id).update(language=language)
