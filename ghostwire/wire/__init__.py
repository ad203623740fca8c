"""The node protocol: messages, proofs, the map they carry, both ends of a session. No socket lives here."""
