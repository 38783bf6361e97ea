"""Faults on purpose: processes killed, disks filled, connections cut, clocks stepped; then the books are read.

Two harnesses. :mod:`tests.chaos.wire` cuts the line to the database at every single message of a transaction, before and
after it, and repeats exactly. :mod:`tests.chaos.city` runs a city's real processes under load and hurts them by a seeded plan.
"""
