"""Reservations: the book, made of what the booking sites said and of nothing else.

Purpose     keep every reservation as the fold of all notifications about it, in the order in which the site spoke.
Reads       its own tables; the shops of `projects`.
Writes      its own tables; services only.
Guarantees  key is project + site + reference, never a name or a phone. The book depends on the set of notifications:
            any order of arrival, any repetition, any number of readers gives the same one. A change or cancel whose
            booking is not here is held, shown nowhere, and applied by itself when the booking comes.
            A person's "handled" belongs to one version: whatever the site says later needs a look again.
Settings    none.
Limits      a change request shows what the guest asks for in `changed` and in the history; the agreed values stay
            until the site confirms. A search reads all reservations of the project (no trigram index yet).
"""
