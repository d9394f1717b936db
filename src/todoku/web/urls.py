"""Routes of the pages."""

from __future__ import annotations

from django.urls import URLPattern, path
from django.views.generic import RedirectView

from todoku.web.guards import open_to_all
from todoku.web.views import (
    away,
    calendar,
    campaigns,
    credentials,
    editor,
    errors,
    guests,
    home,
    live,
    mails,
    online,
    outbox,
    public,
    runs,
    schedule,
    session,
    sources,
    upload,
)

urlpatterns: list[URLPattern] = [
    path("", home.home, name="home"),
    path("healthz", live.healthz, name="healthz"),
    path("favicon.ico", open_to_all(RedirectView.as_view(url="/static/web/favicon.svg")), name="favicon"),
    path("live", live.stream, name="stream"),
    path("sign-in", session.sign_in, name="sign_in"),
    path("sign-out", session.sign_out, name="sign_out"),
    path("language", session.set_language, name="set_language"),
    path("theme", session.set_theme, name="set_theme"),
    path("project", session.set_project, name="set_project"),
    path("online", online.online, name="online"),
    path("online/badge", online.badge, name="badge"),
    path("book", online.book, name="book"),
    path("reservations/<uuid:reservation_id>", online.reservation, name="reservation"),
    path("reservations/<uuid:reservation_id>/handled", online.handle, name="handle"),
    path("mails", mails.mails, name="mails"),
    path("mails/<uuid:arrival_id>", mails.mail, name="mail"),
    path("mails/<uuid:arrival_id>/html", mails.mail_html, name="mail_html"),
    path("mails/<uuid:arrival_id>/raw", mails.mail_raw, name="mail_raw"),
    path("sources", sources.sources, name="sources"),
    path("sources/new", sources.new, name="source_new"),
    path("sources/upload", upload.upload, name="source_upload"),
    path("sources/<slug:source>", sources.source, name="source"),
    path("sources/<slug:source>/test", sources.test, name="source_test"),
    path("sources/<slug:source>/<slug:action>", sources.act, name="source_act"),
    path("credentials/new", credentials.new, name="credential_new"),
    path("credentials/<slug:credential>/replace", credentials.replace, name="credential_replace"),
    path("guests", guests.guests, name="guests"),
    path("guests/<uuid:guest_id>", guests.guest, name="guest"),
    path("guests/<uuid:guest_id>/mailing", guests.guest_mailing, name="guest_mailing"),
    path("campaigns", campaigns.campaigns, name="campaigns"),
    path("campaigns/new", editor.new, name="campaign_new"),
    path("campaigns/check", editor.check, name="campaign_check"),
    path("campaigns/preview", editor.preview, name="campaign_preview"),
    path("campaigns/starts", schedule.starts, name="campaign_starts"),
    path("campaigns/calendar", calendar.calendar, name="calendar"),
    path("campaigns/away", away.away, name="away"),
    path("campaigns/away/remedy", away.remedy, name="away_remedy"),
    path("campaigns/<uuid:campaign_id>", campaigns.campaign, name="campaign"),
    path("campaigns/<uuid:campaign_id>/edit", editor.edit, name="campaign_edit"),
    path("campaigns/<uuid:campaign_id>/send", schedule.send, name="campaign_send"),
    path("campaigns/<uuid:campaign_id>/reschedule", schedule.reschedule, name="campaign_reschedule"),
    path("campaigns/<uuid:campaign_id>/approve", campaigns.approve, name="campaign_approve"),
    path("campaigns/<uuid:campaign_id>/test", campaigns.send_test, name="campaign_test"),
    path("campaigns/<uuid:campaign_id>/<slug:action>", campaigns.act, name="campaign_act"),
    path("runs/<uuid:run_id>", runs.run, name="run"),
    path("runs/<uuid:run_id>/names/<slug:state>", runs.names, name="run_names"),
    path("runs/<uuid:run_id>/names.csv", runs.names_file, name="run_csv"),
    path("runs/<uuid:run_id>/names/<slug:state>.csv", runs.names_file, name="run_names_csv"),
    path("runs/<uuid:run_id>/resend", runs.resend, name="run_resend"),
    path("runs/<uuid:run_id>/<slug:action>", runs.run_act, name="run_act"),
    path("unsubscribe/<str:token>", public.unsubscribe, name="unsubscribe"),
    path("demo/outbox", outbox.outbox, name="outbox"),
    path("demo/outbox/<int:number>", outbox.outbox_message, name="outbox_message"),
    path("demo/outbox/<int:number>/html", outbox.outbox_html, name="outbox_html"),
]

handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.failed
