"""Cli: the command `todoku`, a door.

Purpose   say in words what to do; the work is done in the rooms, wired by `todoku.config`.
Writes    results to standard output (`--json`: one JSON document), everything else to standard error.
Promise   exit code 0 = done; 1 = a promise broke or something failed; 2 = the call itself was wrong.
"""
