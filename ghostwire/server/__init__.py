"""The asyncio shell around the coordinator: store, driver, listener, node sessions, REST, metrics."""
