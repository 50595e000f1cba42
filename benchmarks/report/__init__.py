"""Tables and figures of results; nothing here trains."""
