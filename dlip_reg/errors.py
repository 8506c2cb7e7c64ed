"""The base class of the package's own exceptions."""


class DlipRegError(Exception):
    """Base of every exception that dlip_reg defines, besides the builtin that each refines."""
