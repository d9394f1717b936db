"""Content: the words of a campaign, filled in for one guest at a time.

Purpose     check templates before anybody is mailed, fill them fast and in bounded time while mailing.
Reads       templates and values handed in; the starter templates of this package.
Writes      nothing.
Guarantees  pure: no Django, no network, no clock. A template written by a stranger can name the variables of
            `variables.VARIABLES`, decide (`if`) and repeat (`for`), and nothing else: it reaches no file, no other
            template, no Python attribute, and ends within its fuel. A missing variable is an error that names it,
            never a blank. In the HTML part every value is escaped and there is no way to switch that off.
Settings    none.
Limits      the subject is one line of at most 500 characters, HTML at most 256 KiB, text at most 128 KiB after filling.
            Templates have no `set`, `macro`, `include`, `*` or method call: each of them can make a megabyte out of
            ten characters without using fuel.
"""
