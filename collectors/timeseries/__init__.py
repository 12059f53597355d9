"""Where readings are kept: one protocol, one file a store."""
