"""Intake: from a mail that has arrived to the book, with one named state for each.

Purpose     read every arrival on the MAIL stream and carry it into reservations and guests.
Reads       stream MAIL (durable consumer `reader`), the vault, `extraction`; its own table.
Writes      its own table, and through their services `reservations` and `guests`: one transaction per project and
            batch. An event `event.<project>.reservation` after the commit, for live pages.
            Bucket `addresses`: the mirror of the intake addresses for the SMTP door, replaced ones too.
Guarantees  every arrival ends in exactly one state; what is acknowledged on the bus is committed. Killed at any
            point, or delivered again any number of times, the same book results. One bad mail never stops the next:
            what can't be read or held is `unreadable` with its reason, and its bytes stay in the vault.
            While the database is away nothing is acknowledged and nothing is lost; it goes on by itself.
Settings    none.
Limits      one reader per project gains nothing from a second: guests are joined by one writer at a time.
            The balance counts what the stream still holds (90 days).
"""
