"""Benchmarks: `benchmarks/` in asv's form, one file a noun; `python -m bench` runs them on the working tree."""
