"""Wrong losses, curves and sharpness (tasks 2 to 4): one misunderstanding each, and its cost."""

from solutions.solution import Solution, points_of

_CLEAN_MEAN = "return total / len(x), float(sum(model.losses))"
_START = "vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]"

# The recorder uses the loss, so a wrong loss costs points of both.
_WRONG_LOSS = {"test_clean_loss": 2, "test_uneven_batches": 1, "test_curves": 2}

LOSSES = (
    Solution(
        "penalty_left_in",
        "What Keras' evaluate reports, penalty and all.",
        _WRONG_LOSS,
        {_CLEAN_MEAN: _CLEAN_MEAN.replace("len(x),", "len(x) + float(sum(model.losses)),")},
        told="the cross-entropy plus the penalty",
    ),
    Solution(
        "measured_in_training_mode",
        "Measuring is done in training mode: dropped units, and averages that move.",
        {**_WRONG_LOSS, "test_training_is_left_unchanged": 2},
        {"model(x[part], training=False)": "model(x[part], training=True)"},
        told="in inference mode",
    ),
    Solution(
        "mean_of_batch_means",
        "The last, smaller batch counts like a whole one.",
        {"test_uneven_batches": 1},
        {
            "float(tf.reduce_sum(losses))": "float(tf.reduce_mean(losses))",
            "return total / len(x)": "return total / -(-len(x) // batch_size)",
        },
    ),
    Solution(
        "sum_over_examples",
        "A sum, which grows with the split.",
        _WRONG_LOSS,
        {"return total / len(x)": "return total"},
        told="the sum over the examples",
    ),
    Solution(
        "logits_taken_for_probabilities",
        "The loss is not told that the model ends in logits.",
        _WRONG_LOSS,
        {", from_logits=True)\n        total": ")\n        total"},
        told="from_logits=True",
    ),
    Solution(
        "first_penalty_alone",
        "Of the penalties only the first layer's is reported.",
        {"test_clean_loss": 1, "test_curves": 2},
        {"float(sum(model.losses))": "float(model.losses[0])"},
        told="the sum of all of model.losses",
    ),
)

CURVES = (
    Solution(
        "keras_running_loss",
        "The curve is Keras' own training loss: penalised, with dropout on, over moving weights.",
        {"test_curves": 2},
        {
            "\n        self.record()\n": "\n",
            "logs.update(self.record())": "logs.update(self.record(logs['loss']))",
            "def record(self):": "def record(self, running):",
            'row = {"clean_loss": loss,': 'row = {"clean_loss": running,',
        },
        told="not Keras' own loss",
    ),
    Solution(
        "no_epoch_zero",
        "The curve begins after the first epoch, with the steepest part gone.",
        {"test_curves": 1},
        {"\n        self.record()\n": "\n"},
        told="begins before the first step",
    ),
    Solution(
        "epoch_begins",
        "Each epoch is measured at its beginning, the end of the fit never.",
        {"test_curves": 3},
        {
            "\n        self.record()\n": "\n",
            "def on_epoch_end(": "def on_epoch_begin(",
            "logs.update(self.record())": "self.record()",
        },
        told="the weights at the epoch's end",
    ),
    Solution(
        "nothing_logged",
        "The values stay in the recorder, so EarlyStopping cannot see them.",
        {"test_curves": 1},
        {"logs.update(self.record())": "self.record()"},
        told="did not reach the logs",
    ),
    Solution(
        "nothing_recorded",
        "A recorder that does nothing, and so changes nothing.",
        points_of("LossCurves"),
        {"\n        self.record()\n": "\n", "logs.update(self.record())": "pass"},
        told="clean_loss after the two epochs is nothing",
    ),
    Solution(
        "reseeded",
        "Each measurement sets the random seed, and with it that of the training.",
        {"test_training_is_left_unchanged": 2},
        {"loss, penalty = clean": "keras.utils.set_random_seed(1)\n        loss, penalty = clean"},
    ),
)

SHARPNESS = (
    Solution(
        "without_its_sign",
        "The length of the product, which is never negative.",
        {"test_sharpness_of_other_surfaces": 1},
        {"value = dot(vectors, products)": "value = tf.sqrt(dot(products, products))"},
    ),
    Solution(
        "variable_by_variable",
        "Each variable's own block of the Hessian; what couples them is left out.",
        points_of("sharpness"),
        {
            "    return float(value)\n": "    if len(variables) == 1:\n"
            "        return float(value)\n"
            "    kwargs = {'iterations': iterations, 'seed': seed}\n"
            "    return max(sharpness(loss, [v], **kwargs) for v in variables)\n"
        },
        told="one variable alone",
    ),
    Solution(
        "start_of_ones",
        "The start is not random, and can be orthogonal to what is sought.",
        {"test_sharpness_of_other_surfaces": 1},
        {_START: "vectors = [tf.ones(v.shape) for v in variables]"},
    ),
    Solution(
        "not_normalised",
        "The vector is not brought back to length 1.",
        points_of("sharpness"),
        {"vectors = [v / length for v in vectors]": "pass"},
    ),
    Solution(
        "one_product",
        "One product with a random vector instead of an iteration.",
        points_of("sharpness"),
        {"for _ in range(iterations):": "for _ in range(1):"},
        told="are 10 iterations made",
    ),
    Solution(
        "not_put_back",
        "The weights are moved a little at each product, and stay there.",
        {"test_sharpness_of_other_surfaces": 2},
        {
            "    zero = tf.UnconnectedGradients.ZERO\n": "    for v in variables:\n"
            "        v.assign_add(1e-4 * tf.ones_like(v))\n"
            "    zero = tf.UnconnectedGradients.ZERO\n"
        },
    ),
    Solution(
        "gradient_of_none",
        "A weight that the loss is linear in has no second derivative: None, not zero.",
        {"test_sharpness_of_other_surfaces": 1},
        {"ZERO": "NONE"},
    ),
)
