"""Django's settings, made from the few settings of Todoku.

Purpose   one place where Django is told about database, rooms, languages and security.
Reads     `todoku.config.settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from todoku.config.settings import load_settings

_SETTINGS = load_settings()
PACKAGE = Path(__file__).resolve().parent.parent

SECRET_KEY = _SETTINGS.secret_key()
DEBUG = False
ALLOWED_HOSTS = _SETTINGS.allowed_hosts
CSRF_TRUSTED_ORIGINS = _SETTINGS.trusted_origins
AUTH_USER_MODEL = "projects.User"
ROOT_URLCONF = "todoku.config.urls"
ASGI_APPLICATION = "todoku.config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "todoku.projects",
    "todoku.reservations",
    "todoku.guests",
    "todoku.intake",
    "todoku.campaigns",
    "todoku.delivery.ledger",
    "todoku.web",
    "todoku.api",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "todoku.web.middleware.SecurityHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "todoku.web.middleware.ProjectMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "todoku.web.context.shell",
            ],
        },
    }
]
DATABASES = {"default": _SETTINGS.django_database()}

# for the ledger's archive, which lies in the vault and is read through files here
TODOKU_VAULT_URL = _SETTINGS.vault_url
TODOKU_HOME = _SETTINGS.home

LANGUAGE_CODE = "ja"
LANGUAGES = [("ja", "日本語"), ("en", "English")]
LOCALE_PATHS = [PACKAGE / "web" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "Asia/Tokyo"

STATIC_URL = "/static/"
STATIC_ROOT = None
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_MAX_AGE = 31_536_000  # pages ask for each file with the hash of its content
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "home"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _SETTINGS.served_over_https
CSRF_COOKIE_SECURE = _SETTINGS.served_over_https
SECURE_REFERRER_POLICY = "same-origin"
CSRF_FAILURE_VIEW = "todoku.web.views.errors.csrf_failed"
X_FRAME_OPTIONS = "SAMEORIGIN"
LOGGING_CONFIG = None
