"""The clean loss curve: cross-entropy alone, in inference mode, over whole splits."""

from __future__ import annotations

from typing import Any

from callbacks.evaluation import check_split, clean_metrics, penalty
from callbacks.scheduled import ScheduledRecorder
from dlip_reg.checks import require_whole
from dlip_reg.clean_loss import resolve_loss


class LossCurve(ScheduledRecorder):
    """Measures clean loss and accuracy over whole splits, and the weight penalty separately.

        curve = LossCurve((x_train, y_train), (x_val, y_val))
        history = model.fit(x_train, y_train, epochs=2, callbacks=[curve])
        curve.history["clean_loss"], history.history["clean_val_accuracy"]

    Keras' own training loss adds the penalty and averages over moving weights with dropout on,
    and its `val_loss` adds the penalty, too. This recorder evaluates one loss by itself, in
    inference mode, every example with the same weight, over all of each split: once before the
    first step (epoch 0) and on measured epochs, by default all. It adds to `logs` `clean_loss`,
    `clean_accuracy`, the same as `clean_val_...` and `clean_test_...` for those splits, and
    `penalty`. Accuracy is there only for cross-entropy losses.

    To compare models that are trained on different losses, give all of them one `loss`, such as
    `SparseCategoricalCrossentropy(from_logits=True)` for a fit with label smoothing.

    `history` holds all measurements as columns: `epoch` (epochs completed; None on a row taken
    within an epoch), with `every_n_batches` or `steps` also `step` (batches trained on), and what
    goes to `logs`. Put the recorder before whatever reads its `logs` (EarlyStopping and
    ModelCheckpoint need a `mode` then: Keras guesses it for its own names only); `CSVLogger` writes
    them to a file. It changes nothing in the model (see `callbacks.evaluation`). Under a
    MirroredStrategy the batch-norm statistics measured are the first replica's, which are also the
    ones that are saved.

    Args:
        train: The training split (x, y); x may be a dict or list for a model of several inputs.
        validation: The validation split (x, y), or None.
        test: The test split (x, y), or None.
        loss: The loss to measure: a Keras loss, its name or config, or a function; by default the
            compiled one. The targets are those of this loss: class indices for a sparse one, even
            where the model is compiled with and fitted on one-hot rows.
        batch_size: How many examples go through the model at a time.
        schedule: `every_n_epochs`, `every_n_batches` and `steps` of `ScheduledRecorder`.

    Raises:
        ValueError: For wrong settings, and at fit for what `clean_metrics` refuses and for an
            unbuilt model.
    """

    _data = ("train", "validation", "test")

    def __init__(
        self,
        train: tuple[Any, Any],
        validation: tuple[Any, Any] | None = None,
        *,
        test: tuple[Any, Any] | None = None,
        loss: Any = None,
        batch_size: int = 512,
        **schedule: Any,
    ) -> None:
        super().__init__(**schedule)
        for name, split in (("train", train), ("validation", validation), ("test", test)):
            if split is not None or name == "train":
                check_split(name, split)
        self.train, self.validation, self.test = train, validation, test
        self.loss = None if loss is None else resolve_loss(None, loss)
        self.batch_size = require_whole("batch_size", batch_size)

    @property
    def history(self) -> dict[str, list]:
        """The measurements as columns."""
        names = list(self.rows[0]) if self.rows else []
        if not (self.every_n_batches or self.steps):
            names = [name for name in names if name != "step"]
        return {name: [row[name] for row in self.rows] for name in names}

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        splits = {"": self.train, "val_": self.validation, "test_": self.test}
        values = {
            f"clean_{split}{name}": value
            for split, data in splits.items()
            if data is not None
            for name, value in clean_metrics(
                self.model, *data, self.batch_size, loss=self.loss
            ).items()
        }
        return values | {"penalty": penalty(self.model)}, {}
