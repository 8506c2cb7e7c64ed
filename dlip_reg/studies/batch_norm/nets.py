"""Networks with, without and with a placebo of batch normalization, compared and drawn."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping

from dlip_reg.evidence import Values, per_seed
from dlip_reg.studies import Control, Measurement, Part, Runs
from dlip_reg.studies.batch_norm.arms import NETS, PLACEBO
from dlip_reg.studies.study import negative
from dlip_reg.training import Record

Read = Callable[[Record], float | None]
UNTREATED = (
    "The scale and shift of batch norm without normalization in place of batch norm, against the "
    "plain network: as many parameters, tuned alike."
)


def placebo_control(
    measure: Callable[..., Measurement], *arms: str, description: str = UNTREATED
) -> Control:
    """The negative control of a claim: the placebo in place of batch norm.

    Args:
        measure: The claim's, which takes the name of the treated network.
        arms: The arms that it reads, with "{}" for the name of the network.
        description: What is compared with what.
    """
    needs = tuple(dict.fromkeys(arm.format(net) for arm in arms for net in ("plain", PLACEBO)))
    return negative(description, functools.partial(measure, treated=PLACEBO), needs)


def by_net(
    text: str,
    unit: str,
    nets: Iterable[str],
    values: Callable[[str], Values],
    labels: Mapping[str, str] = NETS,
) -> list[Part]:
    """A number to show of each network, with its label after `text`."""
    return [Part(f"{text} {labels[net]}", unit, values(net)) for net in nets]


def drawn(
    runs: Runs, pattern: str, read: Read, failure: float = math.nan
) -> dict[str, dict[float, Values]]:
    """For figures: label of the network -> what was varied -> `read` of the seeds that were run.

    `pattern` is that of `Runs.grid`, with "{}" for the name of the network. Networks that were not
    run are left out.
    """
    return {
        label: {
            value: per_seed(list(filter(None, runs[arm])), read, failure)
            for value, arm in arms.items()
        }
        for net, label in NETS.items()
        if (arms := runs.grid(pattern.format(net)))
    }
