"""The coordinator's tables in the embedded store: schema, decisions as statements, records from rows."""
