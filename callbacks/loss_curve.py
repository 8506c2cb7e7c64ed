"""The clean loss curve: cross-entropy alone, in inference mode, over whole splits."""

from __future__ import annotations

from typing import Any

from callbacks.evaluation import clean_metrics, verify_clean_loss
from callbacks.scheduled import SplitRecorder
from dlip_reg.checks import require_whole
from dlip_reg.clean_loss import penalty


class LossCurve(SplitRecorder):
    """Measures clean loss and accuracy over whole splits, and the weight penalty separately.

        curve = LossCurve((x_train, y_train), (x_val, y_val))
        history = model.fit(x_train, y_train, epochs=2, callbacks=[curve])
        curve.history["clean_loss"], history.history["clean_val_accuracy"]

    Keras' own training loss adds the penalty and averages over moving weights with dropout on,
    and its `val_loss` adds the penalty, too. This recorder evaluates one loss by itself, in
    inference mode, as a mean over all of each split: once before the
    first step (epoch 0) and on measured epochs, by default all. It adds to `logs` `clean_loss`,
    `clean_accuracy`, the same as `clean_val_...` and `clean_test_...` for those splits, and
    `penalty`. Accuracy is there only for cross-entropy losses.

    To compare models that are trained on different losses, give all of them one `loss`, such as
    `SparseCategoricalCrossentropy(from_logits=True)` for a fit with label smoothing.

    `history` holds all measurements as columns: `epoch` (epochs completed; None on a row taken
    within an epoch), with `every_n_batches` or `steps` also `step` (batches trained on), and what
    goes to `logs`. Put the recorder before whatever reads its `logs` (EarlyStopping,
    ModelCheckpoint and ReduceLROnPlateau need a `mode` then: Keras guesses it for its own names
    only); `CSVLogger` writes them to a file. It changes nothing in the model (see
    `callbacks.evaluation`). Under a MirroredStrategy the batch-norm statistics measured are the
    first replica's, which are also the ones that are saved.

    Args:
        train: The training split, in any form that `callbacks.scheduled.SplitRecorder` takes.
        validation: The validation split, or None.
        test: The test split, or None.
        batch_size: How many examples go through the model at a time; see `clean_metrics`. A loss
            across the examples of a batch, such as a contrastive one, depends on it.
        options: `loss`, `layer_losses`, `class_weight`, `data_batches` and the schedule of
            `SplitRecorder`; `class_weight` is for all splits. The targets are those of `loss`:
            class indices for a sparse one, even where the model is compiled with and fitted on
            one-hot rows.

    Raises:
        ValueError: For wrong settings, and at fit for what `clean_metrics` refuses and for an
            unbuilt model.
    """

    _data = ("data", "sample_weight", "validation", "test")
    _name = "train"

    def __init__(
        self,
        train: Any,
        validation: Any = None,
        *,
        test: Any = None,
        batch_size: int = 512,
        **options: Any,
    ) -> None:
        super().__init__(train, **options)
        self.validation = None if validation is None else self.read("validation", validation)
        self.test = None if test is None else self.read("test", test)
        self.batch_size = require_whole("batch_size", batch_size)

    @property
    def history(self) -> dict[str, list[Any]]:
        """The measurements as columns."""
        names = list(self.rows[0]) if self.rows else []
        if not (self.every_n_batches or self.steps):
            names = [name for name in names if name != "step"]
        return {name: [row[name] for row in self.rows] for name in names}

    def prepare(self) -> None:
        verify_clean_loss(self.model, *self.data, self.sample_weight, **self._loss_options)

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        values: dict[str, float] = {}
        train = *self.data, self.sample_weight
        for prefix, split in (("", train), ("val_", self.validation), ("test_", self.test)):
            if split is not None:
                x, y, weights = split
                metrics = clean_metrics(
                    self.model, x, y, self.batch_size, sample_weight=weights, **self._loss_options
                )
                values |= {f"clean_{prefix}{name}": value for name, value in metrics.items()}
        return values | {"penalty": float(penalty(self.model))}, {}
