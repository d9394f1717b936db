"""Ledger: who got what, one row a recipient, fed in bulk from the journal.

Purpose     answer "who got it?" for every number of a balance, years later too.
Reads       JOURNAL (durable consumer `ledger`), the vault (archived months).
Writes      tables `delivery` (partitioned by month of the run), `delivery_line` (applied journal lines), `run_tally`,
            `run_pace` (ten seconds each), `delivery_evidence` (what settled an unknown), `archive_*`; Parquet files in
            the vault, and copies of them in `<home>/cache/ledger`; events `event.<project>.run` for live pages.
Guarantees  - one transaction for a group of journal lines, acknowledged after its commit: a crash at any point applies
              nothing twice and loses nothing; a database that is away only makes the ledger late.
            - an `unknown` is settled by evidence once, in row and sums together.
            - a month leaves for the archive whole, checked three times, or stays; its answers do not change.
Settings    TODOKU_VAULT_URL, TODOKU_HOME (through Django's settings)
Known limits  rows that arrive while `queries.run_rows` reads may be missed; the chart of a run goes with its month; one
            archiver at a time; a file of up to a million rows is held in memory on its way to the vault.
"""
