"""The service's own database: tables, transactions, the outbox of facts, the leader's lease."""
