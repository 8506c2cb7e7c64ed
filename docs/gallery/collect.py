"""Write results.json: the numbers that figures of the labs show, as arguments of the figures.

Run it with the output folders of labs at their quick presets, after the labs:

    python docs/gallery/collect.py runs/lab_regularization runs/lab_batch_norm runs/lab_batch_size
"""

from __future__ import annotations

import functools
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from dlip_reg.report import figures
from dlip_reg.studies import run_study

NAMES = (
    "loss_curves", "training_loss_misleads", "against_falling_loss", "weight_histograms",
    "by_strength", "strength_curves", "response_surface", "method_accuracy", "activation_sparsity",
    "through_training", "tried_values", "landscape_bands", "gradient_flow", "losses_along",
    "surfaces_side_by_side",
)  # fmt: skip


def plain(value: Any) -> Any:
    """The value as JSON, numbers to four significant digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if value == value else None
    return value


def main(folders: list[str]) -> None:
    """Draw the labs' reports, and keep what each figure of `NAMES` was first given."""
    found: dict[str, Any] = {}

    def keeping(name: str) -> Any:
        draw = getattr(figures, name)

        @functools.wraps(draw)
        def drawn(*args: Any, **options: Any) -> Any:
            found.setdefault(name, [*map(plain, args), *map(plain, options.values())])
            return draw(*args, **options)

        return drawn

    for name in NAMES:
        setattr(figures, name, keeping(name))
    for folder in folders:
        study = import_module(f"dlip_reg.studies.{Path(folder).name.removeprefix('lab_')}").STUDY
        run_study(study, preset="quick", out=folder)
    target = Path(__file__).with_name("results.json")
    target.write_text(json.dumps({name: found[name] for name in NAMES}) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
