"""Wrong solutions: one misunderstanding each, with what it deserves to lose (see `solution`)."""

from solutions.solution import solutions

# Task 1, the network.
REGULARIZERS = solutions(r"""
@@ regularizers_swapped (penalties 2, penalised_weights 1) of conv and dense layers swapped?
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=SWAP
- kernel_regularizer=dense_kernel_regularizer
+ kernel_regularizer=conv_kernel_regularizer
- kernel_regularizer=SWAP
+ kernel_regularizer=dense_kernel_regularizer
@@ half_the_penalty (penalties 2) with no half?
^ def build_model(
+ def half(whole):
+     parts = ('l1', 'l2')
+     halves = {part: float(getattr(whole, part, 0.0)) / 2 for part in parts}
+     return keras.regularizers.L1L2(**halves)
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=half(conv_kernel_regularizer)
- kernel_regularizer=dense_kernel_regularizer
+ kernel_regularizer=half(dense_kernel_regularizer)
@@ regularizer_set_later (penalties 1, save_and_load 1) set after the layer is built is not applied
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=None
-     return keras.Model(inputs, x)
+     model = keras.Model(inputs, x)
+     for name in ('conv1', 'conv2'):
+         model.get_layer(name).kernel_regularizer = conv_kernel_regularizer
+     return model
@@ no_regularizers (penalties 2, penalised_weights 2, save_and_load 1) handed to this layer
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=None
- kernel_regularizer=dense_kernel_regularizer
+ kernel_regularizer=None
@@ l2_alone (penalties 1) that is the part of l2 alone
- kernel_regularizer=dense_kernel_regularizer
+ kernel_regularizer=keras.regularizers.L2(float(getattr(dense_kernel_regularizer, 'l2', 0.0)))
@@ logits_forgotten (penalties 1) logits's penalty is 0
- layers.Dense(classes, kernel_regularizer=dense_kernel_regularizer, name="logits")(x)
+ layers.Dense(classes, name="logits")(x)
@@ biases_too (penalised_weights 1)
- kernel_regularizer=conv_kernel_regularizer
+ kernel_regularizer=conv_kernel_regularizer, bias_regularizer=conv_kernel_regularizer
@@ activities_instead (penalties 1, penalised_weights 1) handed to this layer
- kernel_regularizer=conv_kernel_regularizer
+ activity_regularizer=conv_kernel_regularizer
@@ one_regularizer (penalties 1, penalised_weights 1) of conv and dense layers swapped?
- kernel_regularizer=dense_kernel_regularizer
+ kernel_regularizer=conv_kernel_regularizer
""")
NORMALISATION = solutions(r"""
@@ softmax_at_the_end (logits 1) must end in logits
- name="logits"
+ activation="softmax", name="logits"
@@ default_momentum (moving_statistics 1) keeps 0.99
- momentum=0.9
@@ pytorch_momentum (moving_statistics 1) keeps 0.10
- momentum=0.9
+ momentum=0.1
@@ relu_before_batch_norm (normalisation 1) BN after the ReLU
- if batch_norm:
-             x = layers.BatchNormalization(momentum=0.9)(x)
-         x = layers.Activation("relu")(x)
+ x = layers.Activation("relu")(x)
+         if batch_norm:
+             x = layers.BatchNormalization(momentum=0.9)(x)
@@ batch_norm_frozen (moving_statistics 2, normalisation 1) trainable=False
- x = layers.BatchNormalization(momentum=0.9)(x)
+ x = layers.BatchNormalization(momentum=0.9, trainable=False)(x)
@@ batch_norm_always_training (moving_statistics 1, normalisation 1, save_and_load 2) AlwaysBatch
^ def build_model(
+ class AlwaysBatchNormalization(layers.BatchNormalization):
+     def call(self, inputs, training=None):
+         return super().call(inputs, training=True)
-  layers.BatchNormalization(
+  AlwaysBatchNormalization(
@@ no_batch_norm_in_dense (moving_statistics 1, normalisation 1) no batch normalization after dense1
- if batch_norm:
+ if batch_norm and len(x.shape) == 4:
@@ batch_norm_of_logits (normalisation 2) not after logits
-     return keras.Model(inputs, x)
+     if batch_norm:
+         x = layers.BatchNormalization(momentum=0.9)(x)
+     return keras.Model(inputs, x)
@@ bias_before_batch_norm (no_bias_before_batch_norm 1)
- use_bias=not batch_norm
+ use_bias=True
""")
DROPOUT_AND_FILES = solutions(r"""
@@ share_kept (dropout 2) the share kept
- return layers.Dropout(rate)(x)
+ return layers.Dropout(1 - rate)(x) if rate else x
@@ dropout_in_inference (dropout 1, save_and_load 2) AlwaysDropout
^ def build_model(
+ class AlwaysDropout(layers.Dropout):
+     def call(self, inputs, training=None):
+         return super().call(inputs, training=True)
-  layers.Dropout(
+  AlwaysDropout(
@@ one_dropout_rate (dropout 2) With dense_dropout
- finish(x, dense_dropout)
+ finish(x, conv_dropout)
@@ dropout_in_dense_alone (dropout 1) scaled by 1.000
- finish(x, conv_dropout)
+ finish(x, 0.0)
@@ dense_dropout_twice (dropout 1) and nowhere else
- layers.Flatten()(x)
+ layers.Dropout(dense_dropout)(layers.Flatten()(x))
@@ no_bias_in_the_logits (no_bias_before_batch_norm 1)
- name="logits"
+ use_bias=False, name="logits"
@@ logits_dropped (dropout 1) the logits themselves must not be dropped
-     return keras.Model(inputs, x)
+     return keras.Model(inputs, layers.Dropout(dense_dropout)(x))
@@ lambda_layers (save_and_load 2) Lambda
- x = layers.Activation("relu")(x)
+ x = layers.Lambda(lambda values: keras.ops.relu(values))(x)
""")
# Tasks 2 to 4. The recorder uses the loss, so a wrong loss costs points of both.
LOSSES = solutions(r"""
@@ penalty_left_in (clean_loss 2, uneven_batches 1, curves 2) the cross-entropy plus the penalty
- return total / len(x), float(sum(model.losses))
+ return total / len(x) + float(sum(model.losses)), float(sum(model.losses))
@@ training (clean_loss 2, uneven_batches 1, curves 2, training_is_left_unchanged 2) training=False
- model(x[part], training=False)
+ model(x[part], training=True)
@@ mean_of_batch_means (uneven_batches 1)
- float(tf.reduce_sum(losses))
+ float(tf.reduce_mean(losses))
- return total / len(x)
+ return total / -(-len(x) // batch_size)
@@ sum_over_examples (clean_loss 2, uneven_batches 1, curves 2) the sum over the examples
- return total / len(x)
+ return total
@@ logits_taken_for_probabilities (clean_loss 2, uneven_batches 1, curves 2) from_logits=True
- , from_logits=True)
-         total
+ )
+         total
@@ first_penalty_alone (clean_loss 1, curves 2) the sum of all of model.losses
- float(sum(model.losses))
+ float(model.losses[0])
""")
CURVES = solutions(r"""
@@ keras_running_loss (curves 2) not Keras' own loss
- logs.update(self.record())
+ logs.update(self.record(logs['loss']))
- def record(self):
+ def record(self, running):
- row = {"clean_loss": loss,
+ row = {"clean_loss": running,
-
-         self.record()
@@ no_epoch_zero (curves 1) begins before the first step
-
-         self.record()
@@ epoch_begins (curves 3) the weights at the epoch's end
-
-         self.record()
+
- def on_epoch_end(
+ def on_epoch_begin(
- logs.update(self.record())
+ self.record()
@@ nothing_logged (curves 1) did not reach the logs
- logs.update(self.record())
+ self.record()
@@ nothing_recorded (all of LossCurves) clean_loss after the two epochs is nothing
- logs.update(self.record())
+ pass
-
-         self.record()
@@ reseeded (training_is_left_unchanged 2)
- loss, penalty = clean
+ keras.utils.set_random_seed(1)
+         loss, penalty = clean
""")
SHARPNESS = solutions(r"""
@@ without_its_sign (sharpness_of_other_surfaces 1)
- value = dot(vectors, products)
+ value = tf.sqrt(dot(products, products))
@@ variable_by_variable (all of sharpness) one variable alone
-     return float(value)
+     if len(variables) == 1:
+         return float(value)
+     kwargs = {'iterations': iterations, 'seed': seed}
+     return max(sharpness(loss, [v], **kwargs) for v in variables)
@@ start_of_ones (sharpness_of_other_surfaces 1)
- vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
+ vectors = [tf.ones(v.shape) for v in variables]
@@ not_normalised (all of sharpness)
- vectors = [v / length for v in vectors]
+ pass
@@ one_product (all of sharpness) are 10 iterations made
- for _ in range(iterations):
+ for _ in range(1):
@@ not_put_back (sharpness_of_other_surfaces 2)
-     zero = tf.UnconnectedGradients.ZERO
+     for v in variables:
+         v.assign_add(1e-4 * tf.ones_like(v))
+     zero = tf.UnconnectedGradients.ZERO
@@ gradient_of_none (sharpness_of_other_surfaces 1)
- ZERO
+ NONE
""")
# Tasks 5 to 7.
SEARCH = solutions(r"""
@@ one_name_twice (space 1, strengths_arrive 1) There is no hyperparameter dense_l2
- hp.Float("dense_l2"
+ hp.Float("conv_l2"
@@ linear_scale (space 1) on a linear scale
- 1e-6, 1e-2, sampling="log"
+ 1e-6, 1e-2
@@ strengths_swapped (strengths_arrive 1) called by one name, or swapped
- L2(conv_l2)
+ L2(SWAP)
- L2(dense_l2)
+ L2(conv_l2)
- L2(SWAP)
+ L2(dense_l2)
@@ one_rate_searched (space 1, strengths_arrive 1) There is no hyperparameter dense_dropout
- hp.Float("dense_dropout"
+ hp.Float("conv_dropout"
@@ penalised_objective (compiled_for_tuning 1)
- Objective("clean_val_loss"
+ Objective("val_loss"
@@ loss_of_probabilities (compiled_for_tuning 1)
- keras.losses.SparseCategoricalCrossentropy(from_logits=True),
-         )
+ "sparse_categorical_crossentropy",
+         )
""")
RATE = solutions(r"""
@@ square_root_rule (schedule 1) the square-root rule
- self.batch_size / self.base_batch_size
+ (self.batch_size / self.base_batch_size) ** 0.5
@@ scaled_the_other_way (schedule 1) is it base_rate * batch_size / base_batch_size?
- self.base_rate * self.batch_size / self.base_batch_size
+ self.base_rate * self.base_batch_size / self.batch_size
@@ base_rate_for_all (all of ScaledWarmup) that is the base rate, not scaled
- return self.base_rate + share * (target - self.base_rate)
+ return self.base_rate
@@ warm_up_from_zero (schedule 1) At step 0
- return self.base_rate + share * (target - self.base_rate)
+ return share * target
@@ warm_up_without_end (schedule 1) go on growing
- share = tf.minimum(tf.cast(step, tf.float32) / max(self.warmup_steps, 1), 1.0)
+ share = tf.cast(step, tf.float32) / max(self.warmup_steps, 1)
@@ no_warm_up_no_rate (schedule_in_use 1)
- max(self.warmup_steps, 1)
+ self.warmup_steps
-         if self.warmup_steps == 0:
-             share = 1.0
-
@@ no_configuration (schedule_in_use 1)
- def get_config(self):
+ def configuration(self):
""")
DIAGNOSIS = solutions(r"""
@@ small_taken_for_sparse (sparse_or_small 2) l1 for l2
- near_zero(regularized["kernel"]) >
+ np.mean(np.abs(regularized["kernel"]) < 0.05 * rms(plain["kernel"])) >
@@ exact_zeros (sparse_or_small 2, dropout_or_nothing 1) for l1
- np.abs(values) < 0.05 * rms(values)
+ values == 0
@@ silent_units_first (sparse_or_small 1, dropout_or_nothing 1) dropout for l1
-     if near_zero(reg
+     if np.mean(regularized["activations"] == 0) > np.mean(plain["activations"] == 0) + 0.1:
+         return "dropout"
+     if near_zero(reg
@@ smaller_is_l2 (sparse_or_small 1, dropout_or_nothing 1) l2 for dropout
-     if np.mean(regularized["activations"]
+     if rms(regularized['kernel']) < 0.95 * rms(plain['kernel']):
+         return 'l2'
+     if np.mean(regularized["activations"]
@@ never_nothing (sparse_or_small 1, dropout_or_nothing 1) l2 for None
-     return None
+     return "l2"
@@ always_l1 (all of which_made_it_sparse) l1 for dropout
-     if near_zero(reg
+     return "l1"
+     if near_zero(reg
""")
WRONG = (
    *(REGULARIZERS, NORMALISATION, DROPOUT_AND_FILES, LOSSES, CURVES, SHARPNESS),
    *(SEARCH, RATE, DIAGNOSIS),
)
# Solutions of a part of the tasks.
PARTIAL = solutions(r"""
@@ the_network_alone (all but build_model) NotImplementedError
= clean_loss
+     raise NotImplementedError
= LossCurves.__init__
+         raise NotImplementedError
= sharpness
+     raise NotImplementedError
= SeparateStrengths.__init__
+         raise NotImplementedError
= ScaledWarmup.__init__
+         raise NotImplementedError
= which_made_it_sparse
+     raise NotImplementedError
@@ another_name (all of build_model) build_model
- def build_model(
+ def make_model(
@@ does_not_import (all)
- import keras_tuner
+ import keras_tuner as
""")
