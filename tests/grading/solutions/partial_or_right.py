"""Solutions of a part of the tasks, and some that are right in another way than the reference."""

from solutions.solution import TASKS, Solution, points_of

PARTIAL = (
    Solution(
        "the_network_alone",
        "Task 1 is solved, the others are as in the starter file.",
        points_of(*[task for task in TASKS if task != "build_model"]),
        {
            f'"""Task {n}."""\n': f'"""Task {n}."""\n{indent}raise NotImplementedError\n'
            for n, indent in ((2, " " * 4), (4, " " * 4), (7, " " * 4))
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
