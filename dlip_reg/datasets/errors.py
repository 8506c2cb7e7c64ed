"""The exceptions of `dlip_reg.datasets`."""

from __future__ import annotations

from dlip_reg.errors import DlipRegError


class DataError(DlipRegError, ValueError):
    """Data that is missing, unreadable or of another form than expected."""


class DatasetArgumentError(DlipRegError, ValueError):
    """A data set name, size, seed or option that is not accepted."""
