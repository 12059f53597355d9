"""Retention of records, and the job that removes expired ones."""
