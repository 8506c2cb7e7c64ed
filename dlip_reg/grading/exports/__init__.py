"""Marks as others want them: tables, course systems, pages."""
