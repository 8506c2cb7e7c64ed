"""Marks submissions: assignments, sandbox, reports."""
