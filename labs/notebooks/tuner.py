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
# # Tuning convolution and dense strengths
#
# Convolutions share few weights among many pixels; dense layers have many. Do they want L2
# strengths of their own? This notebook searches both with keras-tuner's random search, in
# parallel worker processes.

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
# ## A search
#
# Every trial is trained with the same two seeds, and its score is the mean over them. The folder
# `runs/strengths` keeps the search: run the cell again, and nothing is repeated.

# %%
from dlip_reg.training import DataSpec
from dlip_reg.tuning import ParallelTuner, RegularizationHyperModel, make_oracle

hypermodel = RegularizationHyperModel("lenet5", (28, 28, 1), 10, l1=None, dropout=None)
tuner = ParallelTuner(
    make_oracle("random", max_trials=12),
    hypermodel,
    executions_per_trial=2,
    directory="runs",
    project_name="strengths",
)
tuner.search(DataSpec("fashion_mnist_subset", n_train=500, n_validation=1000), epochs=5)

# %% [markdown]
# ## The best trials

# %%
tuner.results_summary(3)

# %%
best = tuner.get_best_hyperparameters()[0]
hypermodel.regularization(best)

# %% [markdown]
# ## All trials
#
# The score is the accuracy on the validation images. Each point is a trial; a strength of zero is
# drawn at the left edge.

# %%
import matplotlib.pyplot as plt

trials = tuner.oracle.get_best_trials(12)
_, axes = plt.subplots(1, 2, sharey=True, figsize=(6, 3.5), layout="constrained")
for axis, name in zip(axes, ("conv_l2", "dense_l2"), strict=True):
    strengths = [getattr(hypermodel.regularization(t.hyperparameters), name) for t in trials]
    axis.semilogx([max(strength, 1e-7) for strength in strengths], [t.score for t in trials], "o")
    axis.set_xlabel(name)
axes[0].set_ylabel("validation accuracy")
plt.show()

# %% [markdown]
# The best of many trials is also the luckiest one. The lab `labs/lab_tuning.py` therefore
# retrains the best trials with seeds that no search has used before it compares separate with
# tied strengths.
