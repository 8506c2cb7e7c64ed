"""Right solutions in many styles: for each task other ways to write it, all combined into a few
submissions, in each of which every task is solved in another style: modules, notebooks, and with a
helper module (see `solution` for how they are written).

Points lost are announced in the hand-out: a file with code of one's own cannot be loaded elsewhere,
and the step that `fit` compiles is no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from solutions.solution import FORMS, PARTS, REFERENCE, Solution, Submission, solutions

NETWORKS = solutions(r"""
@@ other_layers
- x = layers.Activation("relu")(x)
+ x = layers.ReLU()(x)
- return layers.Dropout(rate)(x)
+ drop = layers.SpatialDropout2D if len(x.shape) == 4 else layers.Dropout
+         return drop(rate)(x)
@@ nested_blocks
- x = layers.Conv2D(
+ block = [layers.Conv2D(
-             name=name,
-         )(x)
-         x = finish(x, conv_dropout)
-         x = layers.MaxPooling2D(2)(x)
+             name=name,
+         )]
+         block += [layers.BatchNormalization(momentum=0.9)] if batch_norm else []
+         block += [layers.Activation('relu'), layers.Dropout(conv_dropout)]
+         x = keras.Sequential([*block, layers.MaxPooling2D(2)])(x)
@@ sequential
= build_model
+     model = keras.Sequential([layers.Input(input_shape)])
+     def block(layer, rate):
+         model.add(layer)
+         if batch_norm:
+             model.add(layers.BatchNormalization(momentum=0.9))
+         model.add(layers.ReLU())
+         if rate:
+             model.add(layers.Dropout(rate))
+     options = {"use_bias": not batch_norm, "kernel_regularizer": conv_kernel_regularizer}
+     for name, filters in {"conv1": 8, "conv2": 16}.items():
+         block(layers.Conv2D(filters, (3, 3), padding="same", name=name, **options), conv_dropout)
+         model.add(layers.MaxPool2D((2, 2)))
+     model.add(layers.Flatten())
+     options["kernel_regularizer"] = dense_kernel_regularizer
+     block(layers.Dense(32, name="dense1", **options), dense_dropout)
+     options["use_bias"] = True
+     model.add(layers.Dense(classes, "linear", name="logits", **options))
+     return model
@@ subclassed (save_and_load 2)
= build_model
+     regularizers = conv_kernel_regularizer, dense_kernel_regularizer
+     return Net(classes, batch_norm, conv_dropout, dense_dropout, *regularizers)
^ # Task 1
+ class Net(keras.Model):
+     def __init__(self, classes, bn, conv_rate, dense_rate, conv_reg, dense_reg):
+         super().__init__()
+         def norm():
+             return layers.BatchNormalization(momentum=0.9) if bn else layers.Identity()
+         def conv(n, name):
+             return layers.Conv2D(n, 3, padding="same", use_bias=not bn,
+                                  kernel_regularizer=conv_reg, name=name)
+         self.conv1, self.bn1 = conv(8, "conv1"), norm()
+         self.conv2, self.bn2 = conv(16, "conv2"), norm()
+         self.pool = layers.MaxPooling2D()
+         dense = {"kernel_regularizer": dense_reg}
+         self.dense1 = layers.Dense(32, use_bias=not bn, name="dense1", **dense)
+         self.bn3 = norm()
+         self.logits = layers.Dense(classes, name="logits", **dense)
+         self.conv_drop, self.dense_drop = layers.Dropout(conv_rate), layers.Dropout(dense_rate)
+         self.flatten = layers.Flatten()
+     def call(self, x, training=False):
+         x = tf.nn.relu(self.bn1(self.conv1(x), training=training))
+         x = self.pool(self.conv_drop(x, training=training))
+         x = tf.nn.relu(self.bn2(self.conv2(x), training=training))
+         x = self.flatten(self.pool(self.conv_drop(x, training=training)))
+         x = tf.nn.relu(self.bn3(self.dense1(x), training=training))
+         return self.logits(self.dense_drop(x, training=training))
@@ own_blocks (save_and_load 2)
^ # Task 1
+ class Block(layers.Layer):
+     def __init__(self, layer, batch_norm, rate, **options):
+         super().__init__(**options)
+         self.layer, self.drop = layer, layers.Dropout(rate)
+         self.norm = layers.BatchNormalization(momentum=0.9) if batch_norm else None
+     def call(self, x, training=None):
+         x = self.layer(x)
+         if self.norm is not None:
+             x = self.norm(x, training=training)
+         return self.drop(keras.ops.relu(x), training=training)
-         x = layers.Conv2D(
+         conv = layers.Conv2D(
-             name=name,
-         )(x)
-         x = finish(x, conv_dropout)
+             name=name,
+         )
+         x = Block(conv, batch_norm, conv_dropout)(x)
@@ own_regularizer (save_and_load 2) where your code is not known
^ # Task 1
+ class Scaled(keras.regularizers.Regularizer):
+     def __init__(self, inner):
+         self.inner = inner
+     def __call__(self, w):
+         return 0.0 if self.inner is None else self.inner(w)
+     def get_config(self):
+         return {"inner": keras.regularizers.serialize(self.inner)}
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=Scaled(conv_kernel_regularizer)
- kernel_regularizer=dense_kernel_regularizer
+ kernel_regularizer=Scaled(dense_kernel_regularizer)
@@ penalty_added_by_calls (save_and_load 2)
^ # Task 1
+ class Conv(layers.Conv2D):
+     def __init__(self, *args, penalty=None, **options):
+         super().__init__(*args, **options)
+         self.penalty = penalty
+     def call(self, x):
+         if self.penalty is not None:
+             self.add_loss(self.penalty(self.kernel))
+         return super().call(x)
- x = layers.Conv2D(
+ x = Conv(
- kernel_regularizer=conv_kernel_regularizer
+ penalty=conv_kernel_regularizer
@@ own_batch_norm (save_and_load 2)
^ # Task 1
+ class Norm(layers.Layer):
+     def build(self, shape):
+         n = (shape[-1],)
+         self.gamma = self.add_weight(shape=n, initializer="ones", name="gamma")
+         self.beta = self.add_weight(shape=n, initializer="zeros", name="beta")
+         own = {"shape": n, "trainable": False}
+         self.mean = self.add_weight(initializer="zeros", name="moving_mean", **own)
+         self.var = self.add_weight(initializer="ones", name="moving_variance", **own)
+     def call(self, x, training=None):
+         mean, var = self.mean, self.var
+         if training:
+             mean, var = tf.nn.moments(x, list(range(len(x.shape) - 1)))
+             self.mean.assign(0.9 * self.mean + 0.1 * mean)
+             self.var.assign(0.9 * self.var + 0.1 * var)
+         return (x - mean) / tf.sqrt(var + 1e-4) * self.gamma + self.beta
- layers.BatchNormalization(momentum=0.9)
+ Norm()
@@ lambda_relu
- x = layers.Activation("relu")(x)
+ x = layers.Lambda(tf.nn.relu)(x)
@@ small_epsilon
- layers.BatchNormalization(momentum=0.9)
+ layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
@@ ops
- x = layers.Activation("relu")(x)
+ x = keras.ops.relu(x)
- x = layers.Flatten()(x)
+ x = layers.Reshape((-1,))(x)
@@ no_scale
- layers.BatchNormalization(momentum=0.9)
+ layers.BatchNormalization(momentum=0.9, scale=False)
@@ constraints_and_seeded_dropout
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=conv_kernel_regularizer, kernel_constraint=keras.constraints.MaxNorm(3)
- return layers.Dropout(rate)(x)
+ return layers.Dropout(rate, seed=3)(x) if rate else x
""")
LOSSES = solutions(r"""
@@ reference_loss
@@ by_evaluate
-     total = 0.0
+     kwargs = {'batch_size': batch_size, 'verbose': 0}
+     penalty = float(sum(model.losses))
+     return float(model.evaluate(x, y, **kwargs)) - penalty, penalty
@@ deterministic_in_float64
- from keras import layers
+ from keras import layers
+ keras.config.set_floatx("float64")
+ tf.config.experimental.enable_op_determinism()
+ keras.utils.set_random_seed(7)
@@ numpy
= losses of a batch
+         z = np.asarray(model(x[part], training=False), float)
+         z = z - z.max(axis=1, keepdims=True)
+         losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y[part]]
@@ predict_on_batch
= losses of a batch
+         z = model.predict_on_batch(x[part])
+         losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[part], z)
@@ softmax
= losses of a batch
+         p = tf.nn.softmax(model(x[part], training=False)).numpy()
+         losses = -np.log(p[np.arange(len(p)), y[part]])
@@ one_hot
= losses of a batch
+         z = model(x[part], training=False)
+         hot = tf.one_hot(y[part], z.shape[-1])
+         losses = keras.losses.categorical_crossentropy(hot, z, from_logits=True)
@@ loss_object
= losses of a batch
+         loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='sum')
+         losses = loss(y[part], model(x[part], training=False))
@@ scipy
= losses of a batch
+         from scipy.special import logsumexp
+         z = model(x[part]).numpy().astype(np.float64)
+         losses = logsumexp(z, axis=1) - np.take_along_axis(z, y[part][:, None], 1)[:, 0]
@@ predict
= clean_loss
+     z = model.predict(x, batch_size=batch_size, verbose=0)
+     losses = keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)
+     return np.mean(losses), np.sum([float(each) for each in model.losses])
@@ dataset
= clean_loss
+     mean = keras.metrics.SparseCategoricalCrossentropy(from_logits=True)
+     for xs, ys in tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size):
+         mean.update_state(ys, model(xs, training=False))
+     return float(mean.result()), float(tf.add_n(model.losses))
@@ graph
= clean_loss
+     @tf.function
+     def losses(xs, ys):
+         z = model(xs, training=False)
+         return tf.nn.sparse_softmax_cross_entropy_with_logits(ys, z)
+     starts = range(0, len(x), batch_size)
+     parts = [losses(x[i:i + batch_size], y[i:i + batch_size]) for i in starts]
+     return tf.concat(parts, 0).numpy().mean().item(), float(sum(model.losses))
""")
CURVES = solutions(r"""
@@ reference_curves
@@ loop
- logs.update(self.record())
+ for name, value in self.record().items():
+             logs[name] = value
@@ union
- logs.update(self.record())
+ logs |= self.record()
@@ small_batches
- *self.train)
+ *self.train, 7)
- *self.validation)
+ *self.validation, batch_size=3)
@@ default_dict
- self.history = {}
+ import collections
+         self.history = collections.defaultdict(list)
- self.history = {"clean_loss": [], "clean_val_loss": [], "penalty": []}
+ self.history.clear()
@@ float32
- self.history[name].append(value)
+ self.history[name] += [np.float32(value)]
@@ lists
- return row
+ return dict(row)
- for name, value in row.items():
-             self.history[name].append(value)
+ for name in self.history:
+             self.history[name].append(row[name])
@@ first_batch
-         self.record()
+     def on_train_batch_begin(self, batch, logs=None):
+         if not self.history['penalty']:
+             self.record()
@@ first_epoch
-         self.record()
+     def on_epoch_begin(self, epoch, logs=None):
+         if epoch == 0:
+             self.record()
@@ set_model
- def on_train_begin(self, logs=None):
+ def on_train_begin(self, logs=None, **options):
+         super().on_train_begin(logs)
@@ arrays
- self.train, self.validation = train, validation
+ self.train = tuple(map(np.asarray, train))
+         self.validation = tuple(map(np.asarray, validation))
@@ own_measure
- loss, penalty = clean_loss(self.model, *self.train)
+ measure = self.measure
+         loss, penalty = measure(*self.train), float(sum(self.model.losses))
- val_loss, _ = clean_loss(self.model, *self.validation)
+ val_loss = measure(*self.validation)
-     def record(self):
+     def measure(self, x, y):
+         z = self.model(x, training=False)
+         losses = keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)
+         return float(tf.reduce_mean(losses))
+     def record(self):
""")
SHARPNESSES = solutions(r"""
@@ gradient_of_dot
= hessian_product
+     with tf.GradientTape() as outer:
+         with tf.GradientTape() as inner:
+             value = loss()
+         gradients = inner.gradient(value, variables)
+         slope = sum(tf.reduce_sum(g * tf.stop_gradient(v)) for g, v in zip(gradients, vectors)
+                     if g is not None)
+     products = outer.gradient(slope, variables)
+     return [tf.zeros_like(v) if p is None else p for p, v in zip(products, vectors)]
@@ forward_over_back
= hessian_product
+     with tf.autodiff.ForwardAccumulator(variables, vectors) as forward:
+         with tf.GradientTape() as tape:
+             value = loss()
+         gradients = tape.gradient(value, variables, unconnected_gradients="zero")
+     return [forward.jvp(g, unconnected_gradients="zero") for g in gradients]
@@ one_sided_differences
= hessian_product
+     kept = [tf.identity(v) for v in variables]
+     def gradients(size):
+         for v, k, u in zip(variables, kept, vectors):
+             v.assign(k + size * u)
+         with tf.GradientTape() as tape:
+             value = loss()
+         return tape.gradient(value, variables)
+     one, other = gradients(0.001), gradients(0.0)
+     for v, k in zip(variables, kept):
+         v.assign(k)
+     return [(a - b) / 0.001 for a, b in zip(one, other)]
@@ flat_vector
= sharpness
+     rng = np.random.default_rng(seed)
+     shapes = [tuple(v.shape) for v in variables]
+     sizes = [int(np.prod(shape)) for shape in shapes]
+     v = rng.standard_normal(sum(sizes))
+     for _ in range(iterations):
+         v = v / np.linalg.norm(v)
+         parts = [tf.constant(p.reshape(s), tf.float32)
+                  for p, s in zip(np.split(v, np.cumsum(sizes)[:-1]), shapes)]
+         hv = np.concatenate([np.ravel(p) for p in hessian_product(loss, variables, parts)])
+         value = v @ hv
+         v = hv.astype(float)
+     return float(value)
@@ lanczos
= sharpness
+     from scipy.sparse.linalg import LinearOperator, eigsh
+     shapes = [tuple(v.shape) for v in variables]
+     sizes = [int(np.prod(shape)) for shape in shapes]
+     def product(v):
+         parts = np.split(np.ravel(v), np.cumsum(sizes)[:-1])
+         parts = [tf.constant(p.reshape(s), tf.float32) for p, s in zip(parts, shapes)]
+         return np.concatenate([np.ravel(p) for p in hessian_product(loss, variables, parts)])
+     operator = LinearOperator((sum(sizes),) * 2, matvec=product, dtype=np.float32)
+     start = np.random.default_rng(seed).normal(size=sum(sizes)).astype(np.float32)
+     return float(eigsh(operator, k=1, which="LM", v0=start, return_eigenvectors=False)[0])
@@ full_hessian
= sharpness
+     rows = []
+     for i, v in enumerate(variables):
+         for j in range(int(np.prod(v.shape))):
+             unit = [np.zeros(tuple(w.shape), np.float32) for w in variables]
+             unit[i].flat[j] = 1
+             row = hessian_product(loss, variables, [tf.constant(u) for u in unit])
+             rows.append(np.concatenate([np.ravel(part) for part in row]))
+     values = np.linalg.eigvalsh(np.array(rows, float))
+     return float(values[np.abs(values).argmax()])
@@ graph_product
-         products = hessian_product(loss, variables, vectors)
+         products = product(loss, variables, vectors)
-     for _ in range(iterations):
-         length
+     product = tf.function(lambda vectors: hessian_product(loss, variables, vectors))
+     for _ in range(iterations):
+         length
- product(loss, variables, vectors)
-         value
+ product(vectors)
+         value
@@ stateless_start
- vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
+ vectors = [tf.random.stateless_normal(v.shape, [seed, i]) for i, v in enumerate(variables)]
@@ seeded_by_keras
- vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
+ generator = keras.random.SeedGenerator(seed)
+     vectors = [keras.random.normal(v.shape, seed=generator) for v in variables]
@@ global_norm
- length = tf.sqrt(dot(vectors, vectors))
+ length = tf.linalg.global_norm(vectors)
@@ random_signs
- rng.normal(size=v.shape)
+ rng.choice([-1.0, 1.0], v.shape) * rng.uniform(0.5, 1, v.shape)
@@ in_mixed_precision
- from keras import layers
+ from keras import layers
+ keras.mixed_precision.set_global_policy("mixed_bfloat16")
""")
SEARCHES = solutions(r"""
@@ reference_search
@@ l1l2
- keras.regularizers.L2(
+ keras.regularizers.L1L2(l2=
@@ alias
- keras.regularizers.L2(
+ keras.regularizers.l2(
@@ defaults
- 1e-2, sampling="log")
+ 1e-2, sampling="log", default=1e-3)
@@ keywords
- "conv_dropout", 0.0, 0.5, step=0.1
+ name="conv_dropout", min_value=0.0, max_value=0.5, step=0.1, default=0.1
@@ objective_later
- self.builder = builder
+ self.builder = builder
+         self.objective = keras_tuner.Objective("clean_val_loss", "min")
-     objective = keras_tuner.Objective("clean_val_loss", direction="min")
@@ objective_property
-     objective = keras_tuner.Objective("clean_val_loss", direction="min")
+     @property
+     def objective(self):
+         return keras_tuner.Objective("clean_val_loss", "min")
@@ loss_function
- keras.losses.SparseCategoricalCrossentropy(from_logits=True),
-         )
+ lambda y, z: keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True),
+         )
@@ compiled_by_keyword
- keras.optimizers.Adam(learning_rate)
+ optimizer=keras.optimizers.Adam(learning_rate=learning_rate)
- keras.losses.SparseCategoricalCrossentropy(from_logits=True),
-         )
+ loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
+         )
@@ own_regularizer_searched
- keras.regularizers.L2(
+ Ridge(
^ # Task 5
+ class Ridge(keras.regularizers.Regularizer):
+     def __init__(self, strength):
+         self.strength = strength
+     def __call__(self, w):
+         return self.strength * tf.reduce_sum(tf.square(w))
@@ metrics
- keras.losses.SparseCategoricalCrossentropy(from_logits=True),
-         )
+ keras.losses.SparseCategoricalCrossentropy(from_logits=True),
+             metrics=["accuracy"],
+         )
@@ float_values
- model.compile(
+ learning_rate = float(learning_rate)
+         model.compile(
""")
RATES = solutions(r"""
@@ reference_rate
@@ where
= share
+         now, steps = tf.cast(step, tf.float32), self.warmup_steps
+         share = tf.where(now < steps, now / max(steps, 1), 1.0)
@@ ops
= share
+         now, steps = keras.ops.cast(step, "float32"), self.warmup_steps
+         share = keras.ops.minimum(now / max(steps, 1), 1.0) if steps else 1.0
@@ python (schedule_in_use 1)
= share
+         share = 1.0 if step >= self.warmup_steps else float(step) / self.warmup_steps
@@ numpy (schedule_in_use 1)
= share
+         share = np.clip(float(step) / self.warmup_steps, 0, 1) if self.warmup_steps > 0 else 1.0
@@ early_return
= share
+         if not self.warmup_steps:
+             return target
+         share = tf.clip_by_value(tf.cast(step, tf.float32) / self.warmup_steps, 0.0, 1.0)
@@ cond
= share
+         now, steps = tf.cast(step, tf.float32), self.warmup_steps
+         share = tf.cond(now >= steps, lambda: 1.0, lambda: now / max(steps, 1))
@@ divide_no_nan
= share
+         now, steps = tf.cast(step, tf.float32), float(self.warmup_steps)
+         share = tf.where(now < steps, tf.math.divide_no_nan(now, steps), 1.0)
@@ polynomial
= share
+         if not self.warmup_steps:
+             return target
- return self.base_rate + share * (target - self.base_rate)
+ line = keras.optimizers.schedules.PolynomialDecay(self.base_rate, self.warmup_steps, target)
+         return line(step)
@@ config_from_vars
-         return {
-             "base_rate": self.base_rate,
-             "batch_size": self.batch_size,
-             "base_batch_size": self.base_batch_size,
-             "warmup_steps": self.warmup_steps,
-         }
-
+         names = ('base_rate', 'batch_size', 'base_batch_size', 'warmup_steps')
+         return {name: getattr(self, name) for name in names}
@@ other_form
- return self.base_rate + share * (target - self.base_rate)
+ return (1 - share) * self.base_rate + share * target
@@ registered
- class ScaledWarmup(
+ @keras.saving.register_keras_serializable('course')
+ class ScaledWarmup(
""")

_L1, _DROPOUT, _L2 = re.findall(r"    if .*:\n", PARTS["which_made_it_sparse"])


def _tests(name: str, l1: str, dropout: str, l2: str) -> Solution:
    """Other conditions for L1, dropout and L2, of the weights w, v and activations a, b without and
    with a regularizer."""
    names = "    w, v = plain['kernel'], regularized['kernel']\n"
    names += "    a, b = plain['activations'], regularized['activations']\n"
    edits = {_L1: f"{names}    if {l1}:\n", _DROPOUT: f"    if {dropout}:\n"}
    return Solution(name, {}, edits | {_L2: f"    if {l2}:\n"})


_MORE_ZEROS = "np.mean(b == 0) > np.mean(a == 0) + 0.15"
_SMALLER = "rms(v) / rms(w) < 0.6"
DIAGNOSES = (
    *solutions("""
@@ reference_diagnosis
@@ the_table_at_its_word
- near_zero(regularized["kernel"]) > near_zero(plain["kernel"]) + 0.1
+ near_zero(regularized["kernel"]) > 0.5
- np.mean(regularized["activations"] == 0) > np.mean(plain["activations"] == 0) + 0.1
+ np.mean(regularized["activations"] == 0) >= 0.75
- < 0.8 * rms(plain["kernel"])
+ <= 0.56 * rms(plain["kernel"])
"""),
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
