"""Alarms: rules, evaluation, lifecycle and suppression."""
