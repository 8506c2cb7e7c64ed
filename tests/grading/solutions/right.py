"""Right solutions in many styles: for each task other ways to write it, all combined into a few
submissions, in each of which every task is solved in another style: modules, notebooks, and with a
helper module.

A style is the reference with some texts put otherwise, or with whole solution regions rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from solutions.partial_or_right import RIGHT
from solutions.solution import FORMS, REFERENCE, Solution, Submission

# What stands in the reference's solution regions, in order.
_REGIONS = re.findall(r"### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n", REFERENCE, re.S | re.M)
_NETWORK, _LOSS, _CURVES_INIT, _CURVES, _HELPERS, _SHARPNESS = _REGIONS[1:7]
_SEARCH_INIT, _SEARCH, _RATE_INIT, _RATE, _MEASURES, _DIAGNOSIS = _REGIONS[7:]
# Announced in the hand-out: a file with code of one's own cannot be loaded elsewhere.
_OWN_CODE = {"test_save_and_load": 2}
_RELU = 'x = layers.Activation("relu")(x)'
_BN = "layers.BatchNormalization(momentum=0.9)"
_DROP = "return layers.Dropout(rate)(x)"
_CONV_OPTION = "kernel_regularizer=conv_kernel_regularizer"
_DENSE_OPTION = "kernel_regularizer=dense_kernel_regularizer"


def _style(name: str, edits: dict[str, str], lost: dict[str, float] | None = None) -> Solution:
    return Solution(name, "", lost or {}, edits)


def _above(definition: str, code: str) -> dict[str, str]:
    """An edit that puts `code` above a definition."""
    return {f"\n{definition}": f"\n{code}\n\n\n{definition}"}


_KEPT = {solution.name: _style(solution.name, dict(solution.edits)) for solution in RIGHT}

_OWN_REGULARIZER = """class Scaled(keras.regularizers.Regularizer):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, w):
        return 0.0 if self.inner is None else self.inner(w)

    def get_config(self):
        return {"inner": keras.regularizers.serialize(self.inner)}"""
_OWN_BLOCK = """class Block(layers.Layer):
    def __init__(self, layer, batch_norm, rate, **options):
        super().__init__(**options)
        self.layer, self.drop = layer, layers.Dropout(rate)
        self.norm = layers.BatchNormalization(momentum=0.9) if batch_norm else None

    def call(self, x, training=None):
        x = self.layer(x)
        if self.norm is not None:
            x = self.norm(x, training=training)
        return self.drop(keras.ops.relu(x), training=training)"""
_OWN_NORM = """class Norm(layers.Layer):
    def build(self, shape):
        n = (shape[-1],)
        self.gamma = self.add_weight(shape=n, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=n, initializer="zeros", name="beta")
        own = {"shape": n, "trainable": False}
        self.mean = self.add_weight(initializer="zeros", name="moving_mean", **own)
        self.var = self.add_weight(initializer="ones", name="moving_variance", **own)

    def call(self, x, training=None):
        mean, var = self.mean, self.var
        if training:
            mean, var = tf.nn.moments(x, list(range(len(x.shape) - 1)))
            self.mean.assign(0.9 * self.mean + 0.1 * mean)
            self.var.assign(0.9 * self.var + 0.1 * var)
        return (x - mean) / tf.sqrt(var + 1e-4) * self.gamma + self.beta"""
_SUBCLASSED = """    return Net(
        classes, batch_norm, conv_dropout, dense_dropout,
        conv_kernel_regularizer, dense_kernel_regularizer,
    )
"""
_NET = """class Net(keras.Model):
    def __init__(self, classes, bn, conv_rate, dense_rate, conv_reg, dense_reg):
        super().__init__()
        def norm():
            return layers.BatchNormalization(momentum=0.9) if bn else layers.Identity()
        def conv(n, name):
            return layers.Conv2D(n, 3, padding="same", use_bias=not bn,
                                 kernel_regularizer=conv_reg, name=name)
        self.conv1, self.bn1 = conv(8, "conv1"), norm()
        self.conv2, self.bn2 = conv(16, "conv2"), norm()
        self.pool = layers.MaxPooling2D()
        self.dense1 = layers.Dense(32, use_bias=not bn, kernel_regularizer=dense_reg, name="dense1")
        self.bn3 = norm()
        self.logits = layers.Dense(classes, kernel_regularizer=dense_reg, name="logits")
        self.conv_drop, self.dense_drop = layers.Dropout(conv_rate), layers.Dropout(dense_rate)
        self.flatten = layers.Flatten()

    def call(self, x, training=False):
        x = tf.nn.relu(self.bn1(self.conv1(x), training=training))
        x = self.pool(self.conv_drop(x, training=training))
        x = tf.nn.relu(self.bn2(self.conv2(x), training=training))
        x = self.flatten(self.pool(self.conv_drop(x, training=training)))
        x = tf.nn.relu(self.bn3(self.dense1(x), training=training))
        return self.logits(self.dense_drop(x, training=training))"""
_SEQUENTIAL = """    model = keras.Sequential([layers.Input(input_shape)])

    def block(layer, rate):
        model.add(layer)
        if batch_norm:
            model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
        if rate:
            model.add(layers.Dropout(rate))

    options = {"use_bias": not batch_norm, "kernel_regularizer": conv_kernel_regularizer}
    for name, filters in {"conv1": 8, "conv2": 16}.items():
        block(layers.Conv2D(filters, (3, 3), padding="same", name=name, **options), conv_dropout)
        model.add(layers.MaxPool2D((2, 2)))
    model.add(layers.Flatten())
    options["kernel_regularizer"] = dense_kernel_regularizer
    block(layers.Dense(32, name="dense1", **options), dense_dropout)
    model.add(layers.Dense(classes, "linear", kernel_regularizer=dense_kernel_regularizer,
                           name="logits"))
    return model
"""

NETWORKS = (
    _style("reference_network", {}),
    _KEPT["other_layers"],
    _KEPT["nested_blocks"],
    _style("sequential", {_NETWORK: _SEQUENTIAL}),
    _style("subclassed", {_NETWORK: _SUBCLASSED} | _above("# Task 1", _NET), _OWN_CODE),
    _style(
        "own_blocks",
        _above("# Task 1", _OWN_BLOCK)
        | {
            "        x = layers.Conv2D(": "        conv = layers.Conv2D(",
            "            name=name,\n        )(x)\n        x = finish(x, conv_dropout)": ""
            "            name=name,\n        )\n        x = Block(conv, batch_norm, conv_dropout)"
            "(x)",
        },
        _OWN_CODE,
    ),
    _style(
        "own_regularizer",
        _above("# Task 1", _OWN_REGULARIZER)
        | {
            _CONV_OPTION: "kernel_regularizer=Scaled(conv_kernel_regularizer)",
            _DENSE_OPTION: "kernel_regularizer=Scaled(dense_kernel_regularizer)",
        },
        _OWN_CODE,
    ),
    _style(
        "own_batch_norm",
        _above("# Task 1", _OWN_NORM) | {_BN: "Norm()"},
        _OWN_CODE,
    ),
    _style("lambda_relu", {_RELU: "x = layers.Lambda(tf.nn.relu)(x)"}),
    _style("small_epsilon", {_BN: "layers.BatchNormalization(momentum=0.9, epsilon=1e-5)"}),
    _style(
        "ops",
        {_RELU: "x = keras.ops.relu(x)", "x = layers.Flatten()(x)": "x = layers.Reshape((-1,))(x)"},
    ),
    _style("no_scale", {_BN: "layers.BatchNormalization(momentum=0.9, scale=False)"}),
    _style(
        "constraints",
        {_CONV_OPTION: f"{_CONV_OPTION}, kernel_constraint=keras.constraints.MaxNorm(3)"},
    ),
    _style("seeded_dropout", {_DROP: "return layers.Dropout(rate, seed=3)(x) if rate else x"}),
)

_ONE_BATCH = "        total += float(tf.reduce_sum(losses))\n"
_LOSS_LINES = re.search(r"        logits = .*?\n        losses = .*?\n", REFERENCE, re.S)[0]
_LOGITS = "model(x[part], training=False)"


def _batch_loss(name: str, *lines: str) -> Solution:
    """The sum over a batch, computed by these lines into `losses`."""
    return _style(name, {_LOSS_LINES: "".join(f"        {line}\n" for line in lines)})


LOSSES = (
    _style("reference_loss", {}),
    _KEPT["by_evaluate"],
    _KEPT["deterministic"],
    _batch_loss(
        "numpy",
        "z = np.asarray(model(x[part], training=False), float)",
        "z = z - z.max(axis=1, keepdims=True)",
        "losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y[part]]",
    ),
    _batch_loss(
        "predict_on_batch",
        "z = model.predict_on_batch(x[part])",
        "losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[part], z)",
    ),
    _batch_loss(
        "softmax",
        "p = tf.nn.softmax(model(x[part], training=False)).numpy()",
        "losses = -np.log(p[np.arange(len(p)), y[part]])",
    ),
    _batch_loss(
        "one_hot",
        "z = model(x[part], training=False)",
        "hot = tf.one_hot(y[part], z.shape[-1])",
        "losses = keras.losses.categorical_crossentropy(hot, z, from_logits=True)",
    ),
    _batch_loss(
        "loss_object",
        "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='sum')",
        "losses = loss(y[part], model(x[part], training=False))",
    ),
    _batch_loss(
        "scipy",
        "from scipy.special import logsumexp",
        "z = model(x[part]).numpy().astype(np.float64)",
        "losses = logsumexp(z, axis=1) - np.take_along_axis(z, y[part][:, None], 1)[:, 0]",
    ),
    _style(
        "predict",
        {
            _LOSS: "    z = model.predict(x, batch_size=batch_size, verbose=0)\n"
            "    losses = keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)\n"
            "    return np.mean(losses), np.sum([float(each) for each in model.losses])\n"
        },
    ),
    _style(
        "dataset",
        {
            _LOSS: "    mean = keras.metrics.SparseCategoricalCrossentropy(from_logits=True)\n"
            "    for xs, ys in tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size):\n"
            "        mean.update_state(ys, model(xs, training=False))\n"
            "    return float(mean.result()), float(tf.add_n(model.losses))\n"
        },
    ),
    _style(
        "graph",
        {
            _LOSS: "    @tf.function\n"
            "    def losses(xs, ys):\n"
            "        z = model(xs, training=False)\n"
            "        return tf.nn.sparse_softmax_cross_entropy_with_logits(ys, z)\n\n"
            "    starts = range(0, len(x), batch_size)\n"
            "    parts = [losses(x[i:i + batch_size], y[i:i + batch_size]) for i in starts]\n"
            "    return tf.concat(parts, 0).numpy().mean().item(), float(sum(model.losses))\n"
        },
    ),
)

_RECORD = "logs.update(self.record())"
CURVES = (
    _style("reference_curves", {}),
    _style(
        "loop",
        {_RECORD: "for name, value in self.record().items():\n            logs[name] = value"},
    ),
    _style("union", {_RECORD: "logs |= self.record()"}),
    _style(
        "small_batches",
        {"*self.train)": "*self.train, 7)", "*self.validation)": "*self.validation, batch_size=3)"},
    ),
    _style(
        "default_dict",
        {
            "self.history = {}": "import collections\n        self.history = "
            "collections.defaultdict(list)",
            'self.history = {"clean_loss": [], "clean_val_loss": [], "penalty": []}': ""
            "self.history.clear()",
        },
    ),
    _style(
        "float32", {"self.history[name].append(value)": "self.history[name] += [np.float32(value)]"}
    ),
    _style(
        "lists",
        {
            "return row\n": "return dict(row)\n",
            "for name, value in row.items():\n            self.history[name]."
            "append(value)": "for name in self.history:\n            self.history[name]"
            ".append(row[name])",
        },
    ),
    _style(
        "first_batch",
        {
            "\n        self.record()\n": "\n\n    def on_train_batch_begin(self, batch, logs="
            "None):\n        if not self.history['penalty']:\n            self.record()\n"
        },
    ),
    _style(
        "first_epoch",
        {
            "\n        self.record()\n": "\n\n    def on_epoch_begin(self, epoch, logs=None):\n"
            "        if epoch == 0:\n            self.record()\n"
        },
    ),
    _style(
        "set_model",
        {
            "def on_train_begin(self, logs=None):": "def on_train_begin(self, logs="
            "None, **options):\n        super().on_train_begin(logs)"
        },
    ),
    _style(
        "arrays",
        {
            "self.train, self.validation = train, validation": "self.train = tuple(map(np.asarray, "
            "train))\n        self.validation = tuple(map(np.asarray, validation))"
        },
    ),
    _style(
        "own_measure",
        {
            "loss, penalty = clean_loss(self.model, *self.train)": "measure = self.measure\n"
            "        loss, penalty = measure(*self.train), float(sum(self.model.losses))",
            "val_loss, _ = clean_loss(self.model, *self.validation)": "val_loss = measure("
            "*self.validation)",
            "    def record(self):": "    def measure(self, x, y):\n"
            "        z = self.model(x, training=False)\n"
            "        return float(tf.reduce_mean(keras.losses.sparse_categorical_crossentropy("
            "y, z, from_logits=True)))\n\n    def record(self):",
        },
    ),
)

_PRODUCTS = "        products = hessian_product(loss, variables, vectors)\n"
_START = "vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]"
_GRADIENT_OF_DOT = """    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = loss()
        gradients = inner.gradient(value, variables)
        slope = sum(tf.reduce_sum(g * tf.stop_gradient(v)) for g, v in zip(gradients, vectors)
                    if g is not None)
    products = outer.gradient(slope, variables)
    return [tf.zeros_like(v) if p is None else p for p, v in zip(products, vectors)]
"""
_BODY = _HELPERS[_HELPERS.index("    zero = ") : _HELPERS.index("\n\ndef dot")]
_FLAT = """    rng = np.random.default_rng(seed)
    shapes = [tuple(v.shape) for v in variables]
    sizes = [int(np.prod(shape)) for shape in shapes]
    v = rng.standard_normal(sum(sizes))
    for _ in range(iterations):
        v = v / np.linalg.norm(v)
        parts = [tf.constant(p.reshape(s), tf.float32)
                 for p, s in zip(np.split(v, np.cumsum(sizes)[:-1]), shapes)]
        hv = np.concatenate([np.ravel(p) for p in hessian_product(loss, variables, parts)])
        value = v @ hv
        v = hv.astype(float)
    return float(value)
"""
_LANCZOS = """    from scipy.sparse.linalg import LinearOperator, eigsh

    shapes = [tuple(v.shape) for v in variables]
    sizes = [int(np.prod(shape)) for shape in shapes]

    def product(v):
        parts = np.split(np.ravel(v), np.cumsum(sizes)[:-1])
        parts = [tf.constant(p.reshape(s), tf.float32) for p, s in zip(parts, shapes)]
        return np.concatenate([np.ravel(p) for p in hessian_product(loss, variables, parts)])

    operator = LinearOperator((sum(sizes),) * 2, matvec=product, dtype=np.float32)
    start = np.random.default_rng(seed).normal(size=sum(sizes)).astype(np.float32)
    return float(eigsh(operator, k=1, which="LM", v0=start, return_eigenvectors=False)[0])
"""
_FULL = """    rows = []
    for i, v in enumerate(variables):
        for j in range(int(np.prod(v.shape))):
            unit = [np.zeros(tuple(w.shape), np.float32) for w in variables]
            unit[i].flat[j] = 1
            row = hessian_product(loss, variables, [tf.constant(u) for u in unit])
            rows.append(np.concatenate([np.ravel(part) for part in row]))
    values = np.linalg.eigvalsh(np.array(rows, float))
    return float(values[np.abs(values).argmax()])
"""


def _differences(step: float, ends: tuple[int, int]) -> str:
    """The Hessian's product by the gradients at two places along the vector."""
    return f"""    kept = [tf.identity(v) for v in variables]

    def gradients(size):
        for v, k, u in zip(variables, kept, vectors):
            v.assign(k + size * u)
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, variables)

    one, other = gradients({ends[0] * step}), gradients({ends[1] * step})
    for v, k in zip(variables, kept):
        v.assign(k)
    return [(a - b) / {(ends[0] - ends[1]) * step} for a, b in zip(one, other)]
"""


SHARPNESSES = (
    _style("reference_sharpness", {}),
    _KEPT["by_differences"],
    _style("gradient_of_dot", {_BODY: _GRADIENT_OF_DOT.rstrip("\n") + "\n"}),
    _style(
        "forward_over_back",
        {
            _BODY: """    with tf.autodiff.ForwardAccumulator(variables, vectors) as forward:
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, variables, unconnected_gradients="zero")
    return [forward.jvp(g, unconnected_gradients="zero") for g in gradients]
"""
        },
    ),
    _style("central_differences", {_BODY: _differences(1e-3, (1, -1))}),
    _style("one_sided_differences", {_BODY: _differences(1e-3, (1, 0))}),
    _style("flat_vector", {_SHARPNESS: _FLAT}),
    _style("lanczos", {_SHARPNESS: _LANCZOS}),
    _style("full_hessian", {_SHARPNESS: _FULL}),
    _style(
        "graph_product",
        {
            _PRODUCTS: _PRODUCTS.replace("hessian_product(", "product("),
            "    for _ in range(iterations):\n        length": ""
            "    product = tf.function(lambda vectors: hessian_product(loss, "
            "variables, vectors))\n    for _ in range(iterations):\n"
            "        length",
            "product(loss, variables, vectors)\n        value": "product(vectors)\n        value",
        },
    ),
    _style(
        "stateless_start",
        {
            _START: "vectors = [tf.random.stateless_normal(v.shape, [seed, i]) "
            "for i, v in enumerate(variables)]"
        },
    ),
    _style(
        "seeded_by_keras",
        {
            _START: "generator = keras.random.SeedGenerator(seed)\n    vectors ="
            " [keras.random.normal(v.shape, seed=generator) for v in variables]"
        },
    ),
    _style(
        "global_norm",
        {"length = tf.sqrt(dot(vectors, vectors))": "length = tf.linalg.global_norm(vectors)"},
    ),
    _style(
        "random_signs",
        {
            "rng.normal(size=v.shape)": "rng.choice([-1.0, 1.0], v.shape) * "
            "rng.uniform(0.5, 1, v.shape)"
        },
    ),
)

_L2S = ("keras.regularizers.L2(conv_l2)", "keras.regularizers.L2(dense_l2)")
_COMPILED = "keras.losses.SparseCategoricalCrossentropy(from_logits=True),\n        )"
_OBJECTIVE = '    objective = keras_tuner.Objective("clean_val_loss", direction="min")\n\n'
SEARCHES = (
    _style("reference_search", {}),
    _style("l1l2", {l2: l2.replace("L2(", "L1L2(l2=") for l2 in _L2S}),
    _style("alias", {l2: l2.replace("L2(", "l2(") for l2 in _L2S}),
    _style("defaults", {'1e-2, sampling="log")': '1e-2, sampling="log", default=1e-3)'}),
    _style(
        "keywords",
        {
            '"conv_dropout", 0.0, 0.5, step=0.1': 'name="conv_dropout", min_value=0.0, '
            "max_value=0.5, step=0.1, default=0.1"
        },
    ),
    _style(
        "objective_later",
        {
            _OBJECTIVE: "",
            "self.builder = builder": "self.builder = builder\n"
            "        self.objective = keras_tuner.Objective("
            '"clean_val_loss", "min")',
        },
    ),
    _style(
        "objective_property",
        {
            _OBJECTIVE: "    @property\n    def objective(self):\n        "
            'return keras_tuner.Objective("clean_val_loss", "min")\n\n'
        },
    ),
    _style(
        "loss_function",
        {
            _COMPILED: "lambda y, z: keras.losses."
            "sparse_categorical_crossentropy(y, z, from_logits=True),\n        )"
        },
    ),
    _style(
        "compiled_by_keyword",
        {
            "keras.optimizers.Adam(learning_rate)": "optimizer=keras."
            "optimizers.Adam(learning_rate=learning_rate)",
            _COMPILED: f"loss={_COMPILED}",
        },
    ),
    _style(
        "own_regularizer_searched",
        {l2: l2.replace("keras.regularizers.L2", "Ridge") for l2 in _L2S}
        | _above(
            "# Task 5",
            "class Ridge(keras.regularizers.Regularizer):\n"
            "    def __init__(self, strength):\n        self.strength = strength\n\n"
            "    def __call__(self, w):\n"
            "        return self.strength * tf.reduce_sum(tf.square(w))",
        ),
    ),
    _style(
        "metrics", {_COMPILED: _COMPILED.replace(",\n", ',\n            metrics=["accuracy"],\n')}
    ),
    _style(
        "float_values",
        {"model.compile(": "learning_rate = float(learning_rate)\n        model.compile("},
    ),
)

_SHARE = _RATE[_RATE.index("        share = ") : _RATE.index("        return self.base_rate")]


def _schedule(name: str, *lines: str, lost: dict[str, float] | None = None) -> Solution:
    """The warm-up's share so far, computed by these lines."""
    return _style(name, {_SHARE: "".join(f"        {line}\n" for line in lines)}, lost)


_W = "self.warmup_steps"
# The step that fit compiles is no number: the hand-out announces it.
_EAGER = {"test_schedule_in_use": 1}
RATES = (
    _style("reference_rate", {}),
    _schedule(
        "where",
        f"share = tf.where(tf.cast(step, tf.float32) < {_W}, "
        f"tf.cast(step, tf.float32) / max({_W}, 1), 1.0)",
    ),
    _schedule(
        "ops",
        f"share = keras.ops.minimum(keras.ops.cast(step, 'float32') / max({_W}, 1), 1.0)",
        f"share = share if {_W} else 1.0",
    ),
    _schedule("python", f"share = 1.0 if step >= {_W} else float(step) / {_W}", lost=_EAGER),
    _schedule(
        "numpy", f"share = np.clip(float(step) / {_W}, 0, 1) if {_W} > 0 else 1.0", lost=_EAGER
    ),
    _schedule(
        "early_return",
        f"if not {_W}:",
        "    return target",
        f"share = tf.clip_by_value(tf.cast(step, tf.float32) / {_W}, 0.0, 1.0)",
    ),
    _schedule(
        "cond",
        f"share = tf.cond(tf.cast(step, tf.float32) >= {_W}, lambda: 1.0, "
        f"lambda: tf.cast(step, tf.float32) / max({_W}, 1))",
    ),
    _schedule(
        "divide_no_nan",
        "now = tf.cast(step, tf.float32)",
        f"share = tf.where(now < {_W}, tf.math.divide_no_nan(now, float({_W})), 1.0)",
    ),
    _style(
        "polynomial",
        {
            _RATE[: _RATE.index("    def get_config")]: """    def __call__(self, step):
        target = self.base_rate * self.batch_size / self.base_batch_size
        if self.warmup_steps == 0:
            return target
        steps = self.warmup_steps
        return keras.optimizers.schedules.PolynomialDecay(self.base_rate, steps, target)(step)

"""
        },
    ),
    _style(
        "config_from_vars",
        {
            _RATE[_RATE.index("        return {\n") :]: ""
            "        names = ('base_rate', 'batch_size', 'base_batch_size', "
            "'warmup_steps')\n"
            "        return {name: getattr(self, name) for name in names}\n"
        },
    ),
    _style(
        "other_form",
        {
            "return self.base_rate + share * (target - self.base_rate)": ""
            "return (1 - share) * self.base_rate + share * target"
        },
    ),
    _style(
        "registered",
        {
            "class ScaledWarmup(": "@keras.saving.register_keras_serializable("
            "'course')\nclass ScaledWarmup("
        },
    ),
)

_L1, _DROPOUT, _L2 = re.findall(r"    if .*:\n", _DIAGNOSIS)


def _tests(name: str, l1: str, dropout: str, l2: str) -> Solution:
    """Other conditions for L1, dropout and L2, of the weights w, v and activations a, b without and
    with a regularizer."""
    lines = {_L1: f"    if {l1}:\n", _DROPOUT: f"    if {dropout}:\n", _L2: f"    if {l2}:\n"}
    names = "    w, v = plain['kernel'], regularized['kernel']\n"
    names += "    a, b = plain['activations'], regularized['activations']\n"
    return _style(name, {**lines, lines[_L1]: names + lines[_L1]})


_MORE_ZEROS = "np.mean(b == 0) > np.mean(a == 0) + 0.15"
_SMALLER = "rms(v) / rms(w) < 0.6"
DIAGNOSES = (
    _style("reference_diagnosis", {}),
    _KEPT["the_table_at_its_word"],
    _tests("table_in_the_middle", "near_zero(v) > 0.3", "np.mean(b == 0) > 0.65", _SMALLER),
    _tests("ten_percent", "near_zero(v) > 0.1", "(b == 0).mean() >= 0.7", "rms(v) < 0.58 * rms(w)"),
    _tests("twice_as_many", "near_zero(v) > 3 * near_zero(w)", _MORE_ZEROS, _SMALLER),
    _tests("median", "np.median(np.abs(v)) < 0.2 * rms(v)", _MORE_ZEROS, _SMALLER),
    _tests(
        "quantiles",
        "np.quantile(np.abs(v), 0.4) < 0.05 * rms(v)",
        "np.quantile(b, 0.7) == 0",
        "np.linalg.norm(v) < 0.57 * np.linalg.norm(w)",
    ),
    _tests("kurtosis", "np.mean(v**4) / np.mean(v**2) ** 2 > 5", _MORE_ZEROS, _SMALLER),
    _tests(
        "standard_deviation",
        "np.mean(np.abs(v) < 0.05 * v.std()) > 0.25",
        "np.count_nonzero(b) < 0.6 * np.count_nonzero(a)",
        "v.std() < 0.6 * w.std()",
    ),
    _tests(
        "sum_of_sizes",
        "np.abs(v).mean() / rms(v) < 0.6",
        "np.mean(b > 0) < 0.25 + 1e-9",
        "np.abs(v).mean() < 0.59 * np.abs(w).mean()",
    ),
    _tests(
        "almost_zero",
        "near_zero(v) >= 0.5",
        "np.mean(np.abs(b) < 1e-6) > 0.7",
        "np.mean(np.square(v)) < 0.33 * np.mean(np.square(w))",
    ),
    _tests(
        "counts",
        "sum(abs(x) < 0.05 * rms(v) for x in np.ravel(v)) > v.size // 3",
        "sum(x == 0 for x in np.ravel(b)) > 0.66 * b.size",
        "max(rms(v), 1e-12) < 0.6 * rms(w)",
    ),
)

STYLES = (NETWORKS, LOSSES, CURVES, SHARPNESSES, SEARCHES, RATES, DIAGNOSES)


def combined() -> Iterator[Submission]:
    """Submissions in which every task is solved in one of its styles, and all styles occur."""
    for at in range(max(map(len, STYLES))):
        submission = Submission(REFERENCE, ())
        for styles in STYLES:
            style = styles[at % len(styles)]
            text = style.applied(submission.text)
            if text is None:
                raise ValueError(f"{style.name} does not fit the reference.")
            submission = Submission(text, (*submission.parts, style), FORMS[at % len(FORMS)])
        yield submission
