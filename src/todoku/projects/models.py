"""Tables of the projects room; imported by no other room."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from todoku.projects.types import Role


class UserManager(BaseUserManager["User"]):
    """Make users; the address is kept case-folded, because people do not remember how they wrote it."""

    def create_user(self, email: str, password: str | None, display_name: str) -> User:
        """Create a person who can sign in; password None means that none works yet."""
        user = self.model(email=email.strip().casefold(), display_name=display_name)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person who signs in with a mail address."""

    email = models.EmailField(unique=True)
    display_name = models.CharField(max_length=100)
    language = models.CharField(max_length=2, default="ja")
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["display_name"]
    objects = UserManager()

    def __str__(self) -> str:
        return self.display_name or self.email


class Project(models.Model):
    """One tenant; the id is a subject token of the bus."""

    id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=200)
    time_zone = models.CharField(max_length=64, default="Asia/Tokyo")
    sender_name = models.CharField(max_length=100, blank=True)
    sender_address = models.CharField(max_length=254, blank=True)
    postal_address = models.CharField(max_length=300, blank=True)
    contact = models.CharField(max_length=200, blank=True)
    requires_approval = models.BooleanField(default=False)
    created_at = models.DateTimeField()


class Shop(models.Model):
    """One shop; site_names is how booking sites write its name or code."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="shops")
    code = models.CharField(max_length=40)
    name = models.CharField(max_length=200)
    site_names = models.JSONField(default=list)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project", "code"], name="shop_code_once_per_project")
        ]
        ordering: ClassVar[list[str]] = ["position", "code"]


class Member(models.Model):
    """One person's role in one project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=[(role.value, role.value) for role in Role])

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project", "user"], name="member_once_per_project")
        ]


class IntakeAddress(models.Model):
    """One unguessable local part for one shop and site; retired ones stay, so that late mail is still explained.

    retired_at: null = in use; else another has taken its place, and it is accepted until then, which may lie ahead.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="intake_addresses")
    local_part = models.CharField(max_length=64, unique=True)
    shop_code = models.CharField(max_length=40, blank=True)
    site = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)
