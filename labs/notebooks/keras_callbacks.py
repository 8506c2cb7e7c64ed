# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Callbacks for any Keras model
#
# The callbacks measure a fit and change nothing in it: the clean loss, the sharpness, how sparse
# the weights are. Here two networks are compared, one of them with L2.

# %%
# Only on Google Colab: installs the package. First upload its wheel to Colab's files; in the
# repository's folder "python -m build" makes it as dist/dlip_reg-*.whl.
import subprocess
import sys
from pathlib import Path

if "google.colab" in sys.modules:
    wheel = max(Path().glob("dlip_reg-*.whl"), default=None)
    assert wheel, "Upload dlip_reg-*.whl to Colab's files, and run this cell again."
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"{wheel}[labs]"], check=True)

# %% [markdown]
# ## Data and models

# %%
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's messages about this machine

import keras

from dlip_reg.callbacks import LossCurve, Sharpness, Sparsity
from dlip_reg.datasets import load_dataset
from dlip_reg.models import lenet5
from dlip_reg.regularization import Regularization

data = load_dataset("fashion_mnist_subset", n_train=1000, n_validation=500, seed=0)
train, validation = (data.x_train, data.y_train), (data.x_validation, data.y_validation)


def fit(strengths, epochs=8):
    """Train a LeNet-5 and return its history and the recorder of its weights."""
    keras.utils.set_random_seed(0)
    model = lenet5(data.input_shape, data.classes, **strengths.builder_options())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    sparsity = Sparsity(probe=data.x_validation[:256])
    recorders = [LossCurve(train, validation), sparsity, Sharpness(train)]
    history = model.fit(*train, epochs=epochs, verbose=0, callbacks=recorders)
    return history.history, sparsity


plain, plain_weights = fit(Regularization())
decayed, decayed_weights = fit(Regularization(conv_l2=1e-3, dense_l2=1e-3))

# %% [markdown]
# ## The loss that Keras reports, and the clean one
#
# Keras adds the penalty to the loss, so a network with L2 seems to fit worse than it does.
# `clean_loss` is the cross-entropy alone.

# %%
import matplotlib.pyplot as plt

_, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(8, 3.2), layout="constrained")
for axis, name in ((left, "loss"), (right, "clean_loss")):
    axis.plot(plain[name], "o-", label="without L2")
    axis.plot(decayed[name], "s-", label="with L2")
    axis.set(xlabel="epoch", title=name)
left.set_ylabel("nats")
left.legend()
plt.show()

# %% [markdown]
# ## Sharpness
#
# The largest eigenvalue of the Hessian of the clean loss, on 256 training images.

# %%
for name, history in (("without L2", plain), ("with L2", decayed)):
    print(f"{name:10}", " ".join(f"{value:8.1f}" for value in history["lambda_max"]))

# %% [markdown]
# ## The weights of each layer
#
# `rms` is the root mean square of a kernel, `near_zero` the share of its weights below 5 % of
# that.

# %%
for one, other in zip(
    plain_weights.rows[-1]["layers"], decayed_weights.rows[-1]["layers"], strict=True
):
    print(
        f"{one['layer']:10} rms {one['rms']:.4f} -> {other['rms']:.4f}, "
        f"near zero {one['near_zero']:.3f} -> {other['near_zero']:.3f}"
    )

# %% [markdown]
# The other callbacks are `GradientFlow`, `GradientNoise`, `ActivationPercentiles`, `Landscape`
# and `LossLevels`.
