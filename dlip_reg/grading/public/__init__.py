"""The public tests of the assignment: those that `check` runs, whose messages students read."""
