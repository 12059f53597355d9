"""Accounts, permissions, and the audit."""
