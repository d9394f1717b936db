"""All routes: the pages at the root, the api below `/api/`."""

from __future__ import annotations

from django.urls import include, path

from todoku.api import urls as api
from todoku.web import urls as web
from todoku.web.views import errors

urlpatterns = [path("api/", include(api.urlpatterns)), *web.urlpatterns]

handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.failed
