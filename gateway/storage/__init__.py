"""The service's own memory: tables, transactions, facts, the owner's lease."""
