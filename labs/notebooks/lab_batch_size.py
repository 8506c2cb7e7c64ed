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
# # The batch size, measured
#
# The lecture note makes seven statements on the batch size. Here each becomes a measurement.
#
# The same as `python labs/lab_batch_size.py --preset quick`, to look at step by step.

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
# ## The claims
#
# A lab is a `Study`: arms that are trained, and claims that compare them.

# %%
from dlip_reg.studies import run_study
from dlip_reg.studies.batch_size import STUDY

for claim in STUDY.claims:
    print(f"{claim.id:22} {claim.sentence}")

# %% [markdown]
# ## Run it
#
# The quick preset runs up to three seeds, in some minutes. Choose some claims with
# `claims=["bs-small-better"]`. Run the cell again after an interruption: it resumes.

# %%
result = run_study(STUDY, preset="quick")
result

# %% [markdown]
# With fewer than five seeds there are estimates and no verdicts. `preset="standard"` runs 5, 10
# and 20 seeds as needed.
#
# ## One claim in detail
#
# The effect is a mean over the seeds. By construction the claimed effect is absent in a negative
# control and present in a positive one. If the rule calls a negative control supported, or a
# positive one not, the claim is not measurable.

# %%
judged = result.claims[0]
print(judged.sentence)
print(judged.experiment)
print(f"effect: {judged.effect} {judged.unit}, smallest that counts: {judged.smallest_effect}")
for control in judged.controls:
    print(f"{control.kind} control: {control.effect}. {control.description}")

# %% [markdown]
# ## Figures
#
# Every figure of the report is a matplotlib figure in `result.figures`.

# %%
print(sorted(result.figures))

# %%
result.figures[judged.figures[0]]

# %% [markdown]
# ## The runs
#
# One row for each run but those of tuning. How accurate is each arm on test images, where that was
# measured?

# %%
table = result.to_dataframe()
table.groupby("arm", sort=False)[["test_accuracy"]].mean()

# %% [markdown]
# ## The report
#
# The whole report is one folder; open this file in a browser:

# %%
print(result.report)
