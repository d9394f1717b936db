"""Guests: the people behind the reservations, what they agreed to, and who must not be mailed.

Purpose     know who comes, over all sites and shops of a project; say for every address whether it may be mailed.
Reads       its own tables; names of shops and the time zone from `projects`.
Writes      its own tables; services only. Visits are handed over by intake after each change of the book.
Guarantees  two visits are one person when a phone or a mail address proves it, never by a name; the partition is the
            same in whatever order visits come. Merging keeps the older id, and old ids lead to it.
            A person's own word (unsubscribed, complained, manual) stops every address of that person; a bounce stops
            one address. Proofs of consent are never deleted; an import never revives a withdrawn consent.
Settings    none; days are those of the project's time zone.
Limits      a phone shared by a family or a travel desk makes one person of them; there is no un-merge yet.
"""
