"""Names that Keras gives to layers, where other layers have some of them."""

import re
from collections.abc import Callable
from typing import Any

import keras

_MOST_KINDS = 20  # of layers that share names
_MOST_LAYERS = 1000  # of one kind in a model


def with_free_names(build: Callable[[], Any]) -> Any:
    """Return what `build` returns, called again if Keras gave two layers one name.

    Layers that were made elsewhere, such as where a module was imported, keep their names, and
    Keras may give a new layer the name of one of them. Names of that kind are then used up.

    Args:
        build: Builds a model.

    Raises:
        ValueError: Names were given twice by the user; and what `build` raises.
    """
    for _ in range(_MOST_KINDS):
        try:
            return build()
        except ValueError as error:
            if "unique" not in str(error):
                raise
            failure = error
        names = re.findall("[\"']([^\"']+)[\"']", str(failure))
        for kind in {re.sub(r"_\d+$", "", name) for name in names}:
            for _ in range(_MOST_LAYERS):
                keras.backend.get_uid(kind)
    raise failure
