"""Optional dependencies, which a feature names where they are missing, and where pip puts them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlip_reg.errors import DlipRegError

_TUNING = (
    *("cloudpickle", "filelock", "joblib", "keras_tuner", "psutil", "tensorboard", "sklearn"),
)
# Extra -> the modules that its features import. pyproject.toml has the distributions.
EXTRAS = {
    "tuning": _TUNING,
    "labs": (*_TUNING, "jinja2", "matplotlib", "PIL", "plotly", "rich"),
    "cluster": ("distributed",),
    "grading": (
        *("filelock", "jinja2", "joblib", "keras_tuner", "msgpack", "psutil", "pytest", "rich"),
        "yaml",
    ),
}


class MissingExtraError(DlipRegError, ImportError):
    """A feature needs libraries of an extra that is not installed."""


def require_extra(extra: str, feature: str, *modules: str) -> None:
    """Check, without importing them, that the libraries of an extra are installed.

    Args:
        extra: A key of `EXTRAS`.
        feature: What needs them, as the subject of the error's sentence.
        *modules: Those that this feature imports (default: all of the extra).

    Raises:
        MissingExtraError: One of them is missing; the message names the extra to install.
    """
    missing = [module for module in modules or EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{feature} needs {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            f'run pip install "dlip_reg[{extra}]".'
        )


def data_frame(rows: Iterable[Mapping[str, Any]], otherwise: str) -> Any:
    """A pandas DataFrame of `rows`; without pandas an error that names what to use otherwise.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError(
            f"to_dataframe needs pandas: run pip install pandas, or {otherwise}."
        ) from error
    return pandas.DataFrame(rows)


def installed_version(name: str) -> str:
    """The version of a library, whatever distribution it came with (tensorflow-cpu, tf-nightly)."""
    try:
        return version(name)
    except PackageNotFoundError:
        return str(import_module(name.replace("-", "_")).__version__)


def installed_folders() -> list[str]:
    """Where pip has installed packages: beside Python's own folder perhaps the user's, one of
    PYTHONPATH or one that a .pth file names. Editable packages lie elsewhere."""
    return [path for path in sys.path if path and any(Path(path).glob("*.dist-info"))]
