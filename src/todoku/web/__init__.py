"""Web: the pages, a thin door over the rooms.

Purpose     show a shop what came in and what goes out, and let people act on it: Home, Online (live), reservations
            beside their mail, mails by state, guests, campaigns with their runs, unsubscribing, the demo's outbox.
Reads       `queries` of every room; raw mail from the vault; live events from the bus.
Writes      through `services` of the rooms only; its own table of failed sign-ins (`models.FailedSignIn`).
Guarantees  every route names the right it needs (`guards`), and every read is limited to the project of the member;
            what is not yours is answered like what does not exist. Hostile mail is shown as text, or cleaned inside a
            sandboxed frame that loads nothing. Pages work without the bus: they ask again every 10 seconds.
Settings    none of its own; `ports.connect` is called once per process by config with what pages need.
Limits      one live connection per open page; a live stream ends after 15 minutes and the browser opens the next.
"""
