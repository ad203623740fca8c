"""The node protocol: messages, proofs, the map that they carry, and both ends' session machines. No socket lives here."""
