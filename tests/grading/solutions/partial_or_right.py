"""Solutions of a part of the tasks, and some that are right in another way than the reference."""

from solutions.solution import TASKS, Solution, points_of

PARTIAL = (
    Solution(
        "the_network_alone",
        "Task 1 is solved, the others are as in the starter file.",
        points_of(*[task for task in TASKS if task != "build_model"]),
        {
            first: f"    raise NotImplementedError\n{first}"
            for first in (
                "    total = 0.0\n",
                "    rng = np.random.default_rng(seed)\n",
                '    if near_zero(regularized["kernel"])',
            )
        }
        | {
            "super().__init__()\n        self.train": "raise NotImplementedError\n"
            "        self.train",
            "super().__init__()\n        self.builder": "raise NotImplementedError\n"
            "        self.builder",
            "super().__init__()\n        self.base": "raise NotImplementedError\n        self.base",
        },
        told="NotImplementedError",
    ),
    Solution(
        "another_name",
        "The network goes by another name.",
        points_of("build_model"),
        {"def build_model(": "def make_model("},
        told="build_model",
    ),
    Solution(
        "does_not_import",
        "The file stops at its first line.",
        points_of(*TASKS),
        {"import keras_tuner\n": "import keras_tuner as\n"},
    ),
)

RIGHT = (
    Solution(
        "deterministic",
        "Deterministic operations, a seed and NumPy's are set when the file is imported.",
        {},
        {
            "from keras import layers\n": "from keras import layers\n\n"
            "tf.config.experimental.enable_op_determinism()\n"
            "keras.utils.set_random_seed(7)\n"
        },
    ),
    Solution(
        "other_layers",
        "A ReLU layer, maps dropped as a whole, pooling before dropout: the task leaves it open.",
        {},
        {
            'x = layers.Activation("relu")(x)': "x = layers.ReLU()(x)",
            "return layers.Dropout(rate)(x)": "drop = layers.SpatialDropout2D if len(x.shape) "
            "== 4 else layers.Dropout\n        return drop(rate)(x)",
        },
    ),
    Solution(
        "nested_blocks",
        "Each convolution is a Sequential model within the network.",
        {},
        {
            "x = layers.Conv2D(": "block = [layers.Conv2D(",
            "            name=name,\n        )(x)\n        x = finish(x, conv_dropout)\n"
            "        x = layers.MaxPooling2D(2)(x)": "            name=name,\n        )]\n"
            "        block += [layers.BatchNormalization(momentum=0.9)] if batch_norm else []\n"
            "        block += [layers.Activation('relu'), layers.Dropout(conv_dropout)]\n"
            "        x = keras.Sequential([*block, layers.MaxPooling2D(2)])(x)",
        },
    ),
    Solution(
        "the_table_at_its_word",
        "Shares and sizes are compared with those that the hand-out's table gives.",
        {},
        {
            'near_zero(regularized["kernel"]) > near_zero(plain["kernel"]) + 0.1': "near_zero"
            '(regularized["kernel"]) > 0.5',
            'np.mean(regularized["activations"] == 0) > np.mean(plain["activations"] == 0) + 0.1': (
                'np.mean(regularized["activations"] == 0) >= 0.75'
            ),
            '< 0.8 * rms(plain["kernel"])': '<= 0.56 * rms(plain["kernel"])',
        },
    ),
    Solution(
        "by_evaluate",
        "Keras' evaluate, less the penalty.",
        {},
        {
            "    total = 0.0\n": "    kwargs = {'batch_size': batch_size, 'verbose': 0}\n"
            "    penalty = float(sum(model.losses))\n"
            "    return float(model.evaluate(x, y, **kwargs)) - penalty, penalty\n"
        },
    ),
    Solution(
        "by_differences",
        "Hessian products by central differences of gradients, the weights put back.",
        {},
        {
            "    zero = tf.UnconnectedGradients.ZERO\n": "    step = 1e-2\n"
            "    kept = [tf.identity(v) for v in variables]\n"
            "    sides = []\n"
            "    for sign in (1, -1):\n"
            "        for v, k, u in zip(variables, kept, vectors):\n"
            "            v.assign(k + sign * step * u)\n"
            "        with tf.GradientTape() as tape:\n"
            "            value = loss()\n"
            "        sides.append(tape.gradient(value, variables))\n"
            "    for v, k in zip(variables, kept):\n"
            "        v.assign(k)\n"
            "    return [(a - b) / (2 * step) for a, b in zip(*sides)]\n"
        },
    ),
)
