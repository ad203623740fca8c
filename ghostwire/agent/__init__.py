"""The node agent: a pure machine that decides, and below `io` everything that touches the system."""
