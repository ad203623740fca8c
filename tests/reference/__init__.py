"""Slow, obvious twins of the compiled units: oracles of the property tests, denominators of the speed-up gate."""
