"""Tuning: any hypermodel of keras-tuner, searched in parallel, paired and resumable.

    from dlip_reg.training import DataSpec
    from dlip_reg.tuning import ParallelTuner, RegularizationHyperModel, make_oracle

    if __name__ == "__main__":
        hypermodel = RegularizationHyperModel("lenet5", (28, 28, 1), 10, l1=None, dropout=None)
        oracle = make_oracle("random", max_trials=24)
        tuner = ParallelTuner(oracle, hypermodel, executions_per_trial=3)
        tuner.search(DataSpec("fashion_mnist_subset", n_train=2000), epochs=5)
        strengths = hypermodel.regularization(tuner.get_best_hyperparameters()[0])

A build function or a `keras_tuner.HyperModel` of your own takes the hypermodel's place; `search`
takes what `fit` takes. `RegularizationHyperModel` also works in keras-tuner's own tuners; the
oracles are keras-tuner's own. What needs Keras imports it on first use.
"""

from __future__ import annotations

from dlip_reg.lazy import lazy_exports
from dlip_reg.tuning.space import SearchSpace

# The objectives of a search, measured by `CleanValidation`, and their directions.
OBJECTIVES = {"clean_val_accuracy": "max", "clean_val_loss": "min"}
TUNERS = ("random", "bayesian", "hyperband", "grid")

_NAMES = {
    "tuner": "AllTrialsFailedError ParallelTuner WorkerStartError",
    "objective": "CleanValidation make_objective",
    "hypermodel": "RegularizationHyperModel",
    "oracles": "make_oracle",
}
__getattr__, __dir__, _LAZY = lazy_exports(__name__, _NAMES, extra="tuning")

__all__ = ["OBJECTIVES", "TUNERS", "SearchSpace", *_LAZY]
