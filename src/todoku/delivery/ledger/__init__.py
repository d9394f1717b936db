"""Ledger: who got what, one row a recipient, fed in bulk from the journal.

Purpose     answer "who got it?" for every number of a balance, years later too.
Reads       JOURNAL (durable consumer `ledger`).
Writes      tables `delivery` (partitioned by month of the run), `delivery_line` (applied journal lines), `run_tally`,
            `run_pace` (ten seconds each); events `event.<project>.run` for live pages.
Guarantees  one transaction for a group of journal lines, acknowledged after its commit: a crash at any point applies
            nothing twice and loses nothing; a database that is away only makes the ledger late.
Known limits  old partitions stay in PostgreSQL; moving them to the vault comes later.
"""
