"""The sans-IO heart: it decides what happens to nodes, users and keys, and says what to store, push and answer."""
