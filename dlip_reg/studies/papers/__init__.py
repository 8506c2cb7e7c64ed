"""Checks of what papers printed: studies without claims, their numbers beside ours."""
