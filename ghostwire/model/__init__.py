"""Value types that every layer shares: identifiers, keys, nodes, users, filters, the log row. They hold no behaviour of a layer."""
