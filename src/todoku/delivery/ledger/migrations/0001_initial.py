"""The ledger's tables.

`delivery` is partitioned by ranges of run_id: run ids are UUIDv7, so a range is a month of runs. Every question about
a run touches one partition, and an old month leaves as one table. Run ids of another version go to the default one.
"""

from django.db import migrations

CREATE = """
CREATE TABLE delivery (
    run_id      uuid        NOT NULL,
    line        bigint      NOT NULL,  -- sequence of the journal line
    place       integer     NOT NULL,  -- index of the recipient in its batch
    project_id  text        NOT NULL,
    guest_id    uuid,
    address     text        NOT NULL,
    state       text        NOT NULL,
    answer      text        NOT NULL,
    at          timestamptz NOT NULL,
    message_id  text        NOT NULL
) PARTITION BY RANGE (run_id);
CREATE TABLE delivery_other PARTITION OF delivery DEFAULT;
CREATE INDEX delivery_by_state ON delivery (run_id, state, line, place);
CREATE INDEX delivery_by_guest ON delivery (guest_id, at DESC) WHERE guest_id IS NOT NULL;

CREATE TABLE delivery_line (
    run_id  uuid    NOT NULL,
    line    bigint  NOT NULL,
    PRIMARY KEY (run_id, line)
);

CREATE TABLE run_tally (
    run_id        uuid    PRIMARY KEY,
    project_id    text    NOT NULL,
    sent          bigint  NOT NULL DEFAULT 0,
    refused       bigint  NOT NULL DEFAULT 0,
    suppressed    bigint  NOT NULL DEFAULT 0,
    unrenderable  bigint  NOT NULL DEFAULT 0,
    expired       bigint  NOT NULL DEFAULT 0,
    unknown       bigint  NOT NULL DEFAULT 0,
    first_at      timestamptz,  -- first and last outcome that a transport had a part in
    last_at       timestamptz
);
"""
DROP = "DROP TABLE run_tally; DROP TABLE delivery_line; DROP TABLE delivery;"


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.RunSQL(CREATE, DROP)]
