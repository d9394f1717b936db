"""Projects: tenants, their shops, the people who work in them, and the addresses at which mail for them arrives.

Purpose     say who owns what: every other row of the database carries a project id that is explained here.
Reads       its own tables.
Writes      its own tables; services only. Intake addresses are mirrored to KV `addresses` by the intake role,
            so that the SMTP door needs no database.
Guarantees  a user sees a project only through a Member row; an address belongs to one project for good, also when it
            was replaced and its time is over: mail to it is never another project's.
Limits      roles are fixed (types.RIGHTS); a person has one role in a project.
"""
