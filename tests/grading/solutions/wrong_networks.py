"""Wrong networks (task 1): each is one misunderstanding, with what it deserves to lose."""

from solutions.solution import Solution

_CONV_OPTION = "kernel_regularizer=conv_kernel_regularizer"
_DENSE_OPTION = "kernel_regularizer=dense_kernel_regularizer"
_BATCH_NORM = "x = layers.BatchNormalization(momentum=0.9)(x)"
_RELU = 'x = layers.Activation("relu")(x)'
_DROPOUT = "return layers.Dropout(rate)(x)"
_LOGITS = f'layers.Dense(classes, {_DENSE_OPTION}, name="logits")(x)'


def _always_training(layer: str) -> dict[str, str]:
    """A subclass that ignores what mode it is called in (`training=True` in a call would not do:
    a functional model hands its own mode on to every layer)."""
    return {
        "def build_model(": f"class Always{layer}(layers.{layer}):\n"
        "    def call(self, inputs, training=None):\n"
        "        return super().call(inputs, training=True)\n\n\n"
        "def build_model(",
        f" layers.{layer}(": f" Always{layer}(",
    }


REGULARIZERS = (
    Solution(
        "regularizers_swapped",
        "The dense layers' regularizer is on the convolutions, and the other way round.",
        {"test_penalties": 2, "test_penalised_weights": 1},
        {
            _CONV_OPTION: "kernel_regularizer=SWAP",
            _DENSE_OPTION: _CONV_OPTION,
            "kernel_regularizer=SWAP": _DENSE_OPTION,
        },
        told="are the regularizers of conv and dense layers swapped?",
    ),
    Solution(
        "half_the_penalty",
        "The penalty is taken for a paper's l/2 * w^2.",
        {"test_penalties": 2},
        {
            "def build_model(": "def half(whole):\n"
            "    parts = ('l1', 'l2')\n"
            "    halves = {part: float(getattr(whole, part, 0.0)) / 2 for part in parts}\n"
            "    return keras.regularizers.L1L2(**halves)\n\n\n"
            "def build_model(",
            _CONV_OPTION: "kernel_regularizer=half(conv_kernel_regularizer)",
            _DENSE_OPTION: "kernel_regularizer=half(dense_kernel_regularizer)",
        },
        told="with no half?",
    ),
    Solution(
        "regularizer_of_ones_own",
        "A class of one's own halves the penalty, and its file cannot be loaded elsewhere.",
        {"test_penalties": 2, "test_save_and_load": 2},
        {
            "def build_model(": "class Half(keras.regularizers.Regularizer):\n"
            "    def __init__(self, whole):\n"
            "        self.whole = keras.regularizers.get(whole)\n\n"
            "    def __call__(self, w):\n"
            "        return 0.5 * self.whole(w) if self.whole else 0.0\n\n"
            "    def get_config(self):\n"
            "        return {'whole': keras.regularizers.serialize(self.whole)}\n\n\n"
            "def build_model(",
            _CONV_OPTION: "kernel_regularizer=Half(conv_kernel_regularizer)",
            _DENSE_OPTION: "kernel_regularizer=Half(dense_kernel_regularizer)",
        },
        told="where your code is not known",
    ),
    Solution(
        "regularizer_set_later",
        "The convolutions' regularizer is set when they are built, which Keras then does not use.",
        {"test_penalties": 1, "test_save_and_load": 1},
        {
            _CONV_OPTION: "kernel_regularizer=None",
            "    return keras.Model(inputs, x)": "    model = keras.Model(inputs, x)\n"
            "    for name in ('conv1', 'conv2'):\n"
            "        model.get_layer(name).kernel_regularizer = conv_kernel_regularizer\n"
            "    return model",
        },
        told="set after the layer is built is not applied",
    ),
    Solution(
        "no_regularizers",
        "Both regularizers are taken and left.",
        {"test_penalties": 2, "test_penalised_weights": 2, "test_save_and_load": 1},
        {_CONV_OPTION: "kernel_regularizer=None", _DENSE_OPTION: "kernel_regularizer=None"},
        told="is the regularizer handed to this layer",
    ),
    Solution(
        "l2_alone",
        "Every regularizer is taken for an L2.",
        {"test_penalties": 1},
        {
            _DENSE_OPTION: "kernel_regularizer=keras.regularizers.L2("
            "float(getattr(dense_kernel_regularizer, 'l2', 0.0)))"
        },
        told="that is the part of l2 alone",
    ),
    Solution(
        "logits_forgotten",
        "The logits are not taken for a dense layer.",
        {"test_penalties": 1},
        {_LOGITS: 'layers.Dense(classes, name="logits")(x)'},
        told="logits's penalty is 0",
    ),
    Solution(
        "biases_too",
        "The convolutions' biases are penalised like their kernels.",
        {"test_penalised_weights": 1},
        {_CONV_OPTION: f"{_CONV_OPTION}, bias_regularizer=conv_kernel_regularizer"},
    ),
    Solution(
        "activities_instead",
        "What is penalised is what the convolutions give, not their kernels.",
        {"test_penalties": 1, "test_penalised_weights": 1},
        {_CONV_OPTION: "activity_regularizer=conv_kernel_regularizer"},
        told="is the regularizer handed to this layer",
    ),
    Solution(
        "one_regularizer",
        "One strength for all: the dense layers take the convolutions' regularizer.",
        {"test_penalties": 1, "test_penalised_weights": 1},
        {_DENSE_OPTION: _CONV_OPTION},
        told="are the regularizers of conv and dense layers swapped?",
    ),
)

NORMALISATION = (
    Solution(
        "softmax_at_the_end",
        "The model ends in probabilities.",
        {"test_logits": 1},
        {_LOGITS: _LOGITS.replace("name=", 'activation="softmax", name=')},
        told="must end in logits",
    ),
    Solution(
        "default_momentum",
        "The moving averages have Keras' momentum of 0.99.",
        {"test_moving_statistics": 1},
        {"momentum=0.9": ""},
        told="keeps 0.99",
    ),
    Solution(
        "pytorch_momentum",
        "The momentum is PyTorch's, the share of the new batch.",
        {"test_moving_statistics": 1},
        {"momentum=0.9": "momentum=0.1"},
        told="keeps 0.10",
    ),
    Solution(
        "relu_before_batch_norm",
        "Conv - ReLU - BN.",
        {"test_normalisation": 1},
        {
            f"if batch_norm:\n            {_BATCH_NORM}\n        {_RELU}": f"{_RELU}\n"
            f"        if batch_norm:\n            {_BATCH_NORM}"
        },
        told="BN after the ReLU",
    ),
    Solution(
        "batch_norm_frozen",
        "Batch normalization is frozen, and so in inference mode once and for all.",
        {"test_moving_statistics": 2, "test_normalisation": 1},
        {_BATCH_NORM: _BATCH_NORM.replace("0.9", "0.9, trainable=False")},
        told="trainable=False",
    ),
    Solution(
        "batch_norm_always_training",
        "Batch normalization by the batch, in use as well, where an image's output then hangs on "
        "its neighbours; by a layer of one's own, whose file cannot be loaded elsewhere.",
        {"test_moving_statistics": 1, "test_normalisation": 1, "test_save_and_load": 2},
        _always_training("BatchNormalization"),
        told="AlwaysBatchNormalization",
    ),
    Solution(
        "no_batch_norm_in_dense",
        "Batch normalization is taken for a part of convolutions alone.",
        {"test_moving_statistics": 1, "test_normalisation": 1},
        {"if batch_norm:": "if batch_norm and len(x.shape) == 4:"},
        told="no batch normalization after dense1",
    ),
    Solution(
        "batch_norm_of_logits",
        "The logits are normalised, too.",
        {"test_normalisation": 2},
        {
            "    return keras.Model(inputs, x)": "    if batch_norm:\n"
            f"        {_BATCH_NORM}\n    return keras.Model(inputs, x)"
        },
        told="not after logits",
    ),
    Solution(
        "bias_before_batch_norm",
        "A bias stays where batch normalization subtracts it again.",
        {"test_no_bias_before_batch_norm": 1},
        {"use_bias=not batch_norm": "use_bias=True"},
    ),
)

DROPOUT_AND_FILES = (
    Solution(
        "share_kept",
        "The rate is taken for the share kept.",
        {"test_dropout": 2},
        {_DROPOUT: "return layers.Dropout(1 - rate)(x) if rate else x"},
        told="the share kept",
    ),
    Solution(
        "dropout_in_inference",
        "Monte Carlo dropout: on in inference as well, by a layer of one's own.",
        {"test_dropout": 1, "test_save_and_load": 2},
        _always_training("Dropout"),
        told="AlwaysDropout",
    ),
    Solution(
        "one_dropout_rate",
        "The dense layer drops at the convolutions' rate.",
        {"test_dropout": 2},
        {"finish(x, dense_dropout)": "finish(x, conv_dropout)"},
        told="With dense_dropout",
    ),
    Solution(
        "dropout_in_dense_alone",
        "Dropout is taken for a part of dense layers alone.",
        {"test_dropout": 1},
        {"finish(x, conv_dropout)": "finish(x, 0.0)"},
        told="scaled by 1.000",
    ),
    Solution(
        "dense_dropout_twice",
        "What the dense layer is given is dropped, too.",
        {"test_dropout": 1},
        {"layers.Flatten()(x)": "layers.Dropout(dense_dropout)(layers.Flatten()(x))"},
        told="and nowhere else",
    ),
    Solution(
        "no_bias_in_the_logits",
        "The logits go without a bias, as layers before BN do.",
        {"test_no_bias_before_batch_norm": 1},
        {_LOGITS: _LOGITS.replace("classes,", "classes, use_bias=False,")},
    ),
    Solution(
        "logits_dropped",
        "Dropout goes over the logits, too.",
        {"test_dropout": 1},
        {
            "    return keras.Model(inputs, x)": "    return keras.Model(inputs, "
            "layers.Dropout(dense_dropout)(x))"
        },
        told="the logits themselves must not be dropped",
    ),
    Solution(
        "lambda_layers",
        "The ReLU is a Lambda layer: code, which a model cannot safely hand on.",
        {"test_save_and_load": 2},
        {_RELU: "x = layers.Lambda(lambda values: keras.ops.relu(values))(x)"},
        told="Lambda",
    ),
)
