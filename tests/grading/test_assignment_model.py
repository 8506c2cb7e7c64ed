"""Marks task 1: the public tests of the network, and those that only staff see."""

import pytest

from dlip_reg.grading.public.expected import CONV, DENSE, WIDTHS, require_kernels
from dlip_reg.grading.public.test_model import *  # noqa: F403
from dlip_reg.grading.public.test_model import NETWORK


@pytest.mark.points(2, task=NETWORK)
def test_penalised_weights(penalised, normalised, conv_dropped, credit):
    """Nothing but kernels is penalised, and each option leaves the other kind of layer alone."""
    models = (penalised, normalised, conv_dropped)
    for facts in models:
        require_kernels(facts["weights"], facts["shape"], facts["classes"])
    kernels = [f"{name}/kernel" for name in CONV + DENSE]
    assert any(facts["penalties"][kernel] > 0 for facts in models for kernel in kernels), (
        "No kernel is penalised, whatever the options: so there is nothing to leave alone."
    )
    rest = [facts["rest"] for facts in models]
    credit.check(1 / 2, rest == [0, 0, 0], "More than kernels is penalised.")
    strays = [
        name
        for facts, names in ((normalised, CONV), (conv_dropped, DENSE))
        for name in names
        if facts["penalties"][f"{name}/kernel"] != 0
    ]
    credit.check(1 / 2, not strays, f"The other kind's regularizer is on {', '.join(strays)}.")


@pytest.mark.points(1, task=NETWORK)
def test_no_bias_before_batch_norm(penalised, normalised):
    """A bias that batch normalization would subtract again is left out; else there is one."""
    with_bn, without = normalised["weights"], penalised["weights"]
    idle = [name for name in WIDTHS if f"{name}/bias" in with_bn]
    assert not idle, f"With batch_norm there is a bias in {', '.join(idle)}."
    gone = [name for name in CONV + DENSE if f"{name}/bias" not in without]
    assert not gone, f"Without batch_norm there is no bias in {', '.join(gone)}."
    assert "logits/bias" in with_bn, "The logits' bias has no BN behind it: it stays."
