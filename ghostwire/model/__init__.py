"""Value types that every layer shares: keys, nodes, users, filters, the log row. No behaviour of a layer lives here."""
