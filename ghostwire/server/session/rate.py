"""How fast one connection may ask: a bucket that fills at a steady rate."""

from __future__ import annotations

from ghostwire._native import pace

Bucket = pace.Bucket
Pace = pace.Pace
