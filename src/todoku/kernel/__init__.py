"""Kernel: the words every room shares.

Purpose   clock, ids, addresses, money, dates, errors, retry, rate and Health.
Reads     nothing.
Writes    nothing.
Promise   pure, standard library only, imports no other room.
"""
