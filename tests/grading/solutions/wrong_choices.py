"""Wrong searches, rates and diagnoses (tasks 5 to 7): one misunderstanding each, and its cost."""

from solutions.solution import Solution, points_of

_SHARE = "share = tf.minimum(tf.cast(step, tf.float32) / max(self.warmup_steps, 1), 1.0)"
_NO_WARMUP = "        if self.warmup_steps == 0:\n            share = 1.0\n"

SEARCH = (
    Solution(
        "one_name_twice",
        "Both strengths go by one name, and keras-tuner gives both the same value.",
        {"test_space": 1, "test_strengths_arrive": 1},
        {'hp.Float("dense_l2"': 'hp.Float("conv_l2"'},
        told="There is no hyperparameter dense_l2",
    ),
    Solution(
        "linear_scale",
        "Strengths are sampled on a linear scale.",
        {"test_space": 1},
        {'1e-6, 1e-2, sampling="log"': "1e-6, 1e-2"},
        told="on a linear scale",
    ),
    Solution(
        "strengths_swapped",
        "The convolutions are given the dense layers' strength, and the other way round.",
        {"test_strengths_arrive": 1},
        {
            "L2(conv_l2)": "L2(SWAP)",
            "L2(dense_l2)": "L2(conv_l2)",
            "L2(SWAP)": "L2(dense_l2)",
        },
        told="called by one name, or swapped",
    ),
    Solution(
        "one_rate_searched",
        "One dropout rate for both kinds of layers.",
        {"test_space": 1, "test_strengths_arrive": 1},
        {'hp.Float("dense_dropout"': 'hp.Float("conv_dropout"'},
        told="There is no hyperparameter dense_dropout",
    ),
    Solution(
        "penalised_objective",
        "The search minimises val_loss, penalty and all.",
        {"test_compiled_for_tuning": 1},
        {'Objective("clean_val_loss"': 'Objective("val_loss"'},
    ),
    Solution(
        "loss_of_probabilities",
        "The model is compiled with a loss for probabilities.",
        {"test_compiled_for_tuning": 1},
        {
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True),\n        )": ""
            '"sparse_categorical_crossentropy",\n        )'
        },
    ),
)

RATE = (
    Solution(
        "square_root_rule",
        "The rate grows with the square root of the batch.",
        {"test_schedule": 1},
        {
            "self.batch_size / self.base_batch_size\n": "(self.batch_size / self.base_batch_size)"
            " ** 0.5\n"
        },
        told="the square-root rule",
    ),
    Solution(
        "scaled_the_other_way",
        "A larger batch gets a smaller rate.",
        {"test_schedule": 1},
        {
            "self.base_rate * self.batch_size / self.base_batch_size": "self.base_rate "
            "* self.base_batch_size / self.batch_size"
        },
        told="is it base_rate * batch_size / base_batch_size?",
    ),
    Solution(
        "base_rate_for_all",
        "The rate is the base rate, whatever the batch.",
        points_of("ScaledWarmup"),
        {"return self.base_rate + share * (target - self.base_rate)": "return self.base_rate"},
        told="that is the base rate, not scaled",
    ),
    Solution(
        "warm_up_from_zero",
        "The warm-up begins at a rate of 0.",
        {"test_schedule": 1},
        {"return self.base_rate + share * (target - self.base_rate)": "return share * target"},
        told="At step 0",
    ),
    Solution(
        "warm_up_without_end",
        "The rate goes on growing after the warm-up.",
        {"test_schedule": 1},
        {_SHARE: "share = tf.cast(step, tf.float32) / max(self.warmup_steps, 1)"},
        told="go on growing",
    ),
    Solution(
        "no_warm_up_no_rate",
        "Without a warm-up the share is 0 / 0.",
        {"test_schedule_in_use": 1},
        {"max(self.warmup_steps, 1)": "self.warmup_steps", _NO_WARMUP: ""},
    ),
    Solution(
        "no_configuration",
        "The schedule cannot be saved with its optimizer.",
        {"test_schedule_in_use": 1},
        {"def get_config(self):": "def configuration(self):"},
    ),
)

DIAGNOSIS = (
    Solution(
        "small_taken_for_sparse",
        "Near zero is measured by the size of the weights without regularization, so weights that "
        "L2 made small count as sparse.",
        {"test_sparse_or_small": 2},
        {
            'near_zero(regularized["kernel"]) >': 'np.mean(np.abs(regularized["kernel"]) '
            '< 0.05 * rms(plain["kernel"])) >'
        },
        told="l1 for l2",
    ),
    Solution(
        "exact_zeros",
        "Only zeros count, and gradient descent leaves next to none.",
        {"test_sparse_or_small": 2, "test_dropout_or_nothing": 1},
        {"np.abs(values) < 0.05 * rms(values)": "values == 0"},
        told="for l1",
    ),
    Solution(
        "silent_units_first",
        "Activations are looked at first, and units that L1 cut off are silent, too.",
        {"test_sparse_or_small": 1, "test_dropout_or_nothing": 1},
        {
            'if near_zero(regularized["kernel"]) > near_zero(plain["kernel"]) + 0.1:': "if "
            '(near_zero(regularized["kernel"]) > near_zero(plain["kernel"]) + 0.1\n'
            '            and np.mean(regularized["activations"] == 0)'
            ' < np.mean(plain["activations"] == 0) + 0.1):'
        },
        told="dropout for l1",
    ),
    Solution(
        "smaller_is_l2",
        "Smaller weights are taken for L2's before activations are looked at; dropout makes "
        "weights smaller, too.",
        {"test_sparse_or_small": 1, "test_dropout_or_nothing": 1},
        {
            '    if np.mean(regularized["activations"]': "    if rms(regularized['kernel']) < 0.95"
            " * rms(plain['kernel']):\n        return 'l2'\n"
            '    if np.mean(regularized["activations"]'
        },
        told="l2 for dropout",
    ),
    Solution(
        "never_nothing",
        "There is always a culprit.",
        {"test_sparse_or_small": 1, "test_dropout_or_nothing": 1},
        {"    return None\n": '    return "l2"\n'},
        told="l2 for None",
    ),
    Solution(
        "always_l1",
        "Sparse means L1, without a look at the records.",
        points_of("which_made_it_sparse"),
        {"    if near_zero(reg": '    return "l1"\n    if near_zero(reg'},
        told="l1 for dropout",
    ),
)
