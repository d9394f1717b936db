"""Views, one file a page family; each is guarded by `web.guards`."""
