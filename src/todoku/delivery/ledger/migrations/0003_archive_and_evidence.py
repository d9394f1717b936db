"""Where archived months lie in the vault, and what settled a recipient afterwards."""

from django.db import migrations

CREATE = """
CREATE TABLE archive_month (
    month        date        PRIMARY KEY,
    archived_at  timestamptz NOT NULL
);
CREATE TABLE archive_part (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month        date        NOT NULL,
    project_id   text        NOT NULL,
    vault_key    text        NOT NULL,
    size_bytes   bigint      NOT NULL,
    rows         bigint      NOT NULL,
    fingerprint  numeric     NOT NULL,  -- sum over the rows, of their content; the same in PostgreSQL and in the file
    first_run    uuid        NOT NULL,
    last_run     uuid        NOT NULL,
    last_at      timestamptz NOT NULL,
    made_at      timestamptz NOT NULL,
    counts       boolean     NOT NULL   -- true from the transaction on that takes the rows out of PostgreSQL
);
CREATE INDEX archive_part_by_run ON archive_part (project_id, first_run, last_run) WHERE counts;
CREATE TABLE archive_run (
    part_id       bigint  NOT NULL REFERENCES archive_part ON DELETE CASCADE,
    run_id        uuid    NOT NULL,
    sent          bigint  NOT NULL,
    refused       bigint  NOT NULL,
    suppressed    bigint  NOT NULL,
    unrenderable  bigint  NOT NULL,
    expired       bigint  NOT NULL,
    unknown       bigint  NOT NULL,
    PRIMARY KEY (run_id, part_id)
);
CREATE TABLE delivery_evidence (
    run_id      uuid        NOT NULL,
    line        bigint      NOT NULL,
    place       integer     NOT NULL,
    project_id  text        NOT NULL,
    state       text        NOT NULL,  -- sent or refused; it was unknown before
    answer      text        NOT NULL,  -- what the ledger shows now
    evidence    text        NOT NULL,
    seen_at     timestamptz NOT NULL,
    settled_at  timestamptz NOT NULL,
    archived    boolean     NOT NULL,  -- the row was in the archive already, and still says unknown there
    PRIMARY KEY (run_id, line, place)
);
"""
DROP = """
DROP TABLE delivery_evidence;
DROP TABLE archive_run;
DROP TABLE archive_part;
DROP TABLE archive_month;
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_pace")]
    operations = [migrations.RunSQL(CREATE, DROP)]
