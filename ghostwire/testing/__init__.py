"""A harness for tests against Ghostwire: real processes, manual clocks, simulated networks."""
