"""Indexes beside SQLite's own: hash tables, bitmaps and longest prefixes, in memory, right at every reader's moment.

`CREATE HASH INDEX name ON table(column)`, or BITMAP or CIDR, declares one (`definition`). Its structure is built by the
first reader that asks, shared by all, and follows the change log (`shared`). It never changes: a later one takes its
place, so that a reader keeps what it began with. SQL asks by functions and table-valued functions (`session`).
"""
