"""Signing in and out, and how pages look to one person: language, theme, project."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from todoku.projects import services as projects
from todoku.web import attempts
from todoku.web.context import THEMES
from todoku.web.guards import open_to_all
from todoku.web.ports import ports

YEAR_SECONDS = 365 * 86_400


class SignInForm(forms.Form):
    """Mail address and password."""

    email = forms.EmailField(max_length=254)
    password = forms.CharField(max_length=500, strip=False)


@open_to_all
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Ask who it is. Every failure looks the same, whether or not there is such a person."""
    target = _safe_target(request)
    if request.user.is_authenticated:
        return HttpResponseRedirect(target)
    problem, status = "", 200
    if request.method == "POST":
        problem, status = _try(request)
        if not problem:
            answer = HttpResponseRedirect(target)
            if settings.LANGUAGE_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
                projects.set_language(request.user.pk, _language(request.COOKIES[settings.LANGUAGE_COOKIE_NAME]))
            return answer
    values = {"problem": problem, "next": target, "email": request.POST.get("email", "")[:254]}
    return render(request, "web/sign_in.html", values, status=status)


@open_to_all
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    auth.logout(request)
    return redirect("sign_in")


@open_to_all
@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Show pages in Japanese or English from now on."""
    language = _language(request.POST.get("language", ""))
    if request.user.is_authenticated:
        projects.set_language(request.user.pk, language)
    answer = HttpResponseRedirect(_safe_target(request))
    _remember(answer, settings.LANGUAGE_COOKIE_NAME, language)
    return answer


@open_to_all
@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Show pages light, dark, or as the device asks."""
    theme = request.POST.get("theme", "")
    answer = HttpResponseRedirect(_safe_target(request))
    _remember(answer, "theme", theme if theme in THEMES else "auto")
    return answer


@open_to_all
@require_POST
def set_project(request: HttpRequest) -> HttpResponse:
    """Work in another project; one that is not yours changes nothing."""
    wanted = request.POST.get("project", "")
    if any(one.project_id == wanted for one in getattr(request, "memberships", [])):
        request.session["project"] = wanted
    return redirect("home")


def _try(request: HttpRequest) -> tuple[str, int]:
    form = SignInForm(request.POST)
    wrong = _("The mail address and the password do not belong together.")
    if not form.is_valid():
        return wrong, 422
    email = form.cleaned_data["email"].strip().casefold()
    remote_address = request.META.get("REMOTE_ADDR", "")
    now_utc = ports().clock.now_utc()
    if not attempts.may_try(email, remote_address, now_utc=now_utc):
        return _("Too many attempts. Please wait 15 minutes and try again."), 429
    user = auth.authenticate(request, username=email, password=form.cleaned_data["password"])
    if user is None:
        attempts.record_failure(email, remote_address, now_utc=now_utc)
        return wrong, 422
    attempts.forget(email, remote_address)
    auth.login(request, user)
    return "", 200


def _safe_target(request: HttpRequest) -> str:
    target = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return target
    return reverse("home")


def _language(text: str) -> str:
    return text if text in {code for code, _name in settings.LANGUAGES} else "ja"


def _remember(answer: HttpResponse, name: str, value: str) -> None:
    answer.set_cookie(
        name, value, max_age=YEAR_SECONDS, samesite="Lax", httponly=True, secure=settings.SESSION_COOKIE_SECURE
    )
