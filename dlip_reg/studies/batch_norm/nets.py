"""Networks with, without and with a placebo of batch normalization, compared and drawn."""

import math
from collections.abc import Callable, Iterator, Mapping

from dlip_reg.evidence import Values
from dlip_reg.studies import Control, Measured, Part, Runs
from dlip_reg.studies.batch_norm.arms import NETS, PLACEBO
from dlip_reg.studies.study import NEGATIVE
from dlip_reg.studies.texts import paragraphs
from dlip_reg.training import Record

Read = Callable[[Record], float | None]


def placebo_control(measure: Callable[..., Measured], *arms: str, description: str = "") -> Control:
    """The negative control of a claim: the placebo in place of batch norm.

    Args:
        measure: The claim's, which takes the name of the treated network.
        arms: The arms that it reads, with "{}" for the name of the network.
        description: What is compared with what, if it is not what the placebo is by default.
    """

    def untreated(runs: Runs) -> Measured:
        """The scale and shift of batch norm without normalization in place of batch norm, against
        the plain network: as many parameters, tuned alike.
        """
        return measure(runs, treated=PLACEBO)

    needs = tuple(dict.fromkeys(arm.format(net) for arm in arms for net in ("plain", PLACEBO)))
    return Control(NEGATIVE, description or paragraphs(untreated)[0], untreated, needs)


def by_net(
    text: str, unit: str, values: Mapping[str, Values], labels: Mapping[str, str] = NETS
) -> Iterator[Part]:
    """A number to show of each network, with its label after `text`."""
    for net, of_net in values.items():
        yield Part(f"{text} {labels[net]}", unit, of_net)


def drawn(
    runs: Runs, pattern: str, read: Read, failure: float = math.nan
) -> dict[str, dict[float, list[float]]]:
    """For figures: label of the network -> what was varied -> `read` of the seeds that were run.

    `pattern` is that of `Runs.grid`, with "{}" for the name of the network. Networks that were not
    run are left out.
    """
    return {
        label: {
            value: [
                found
                for found, record in zip(runs.values(arm, read, failure), runs[arm], strict=True)
                if record is not None
            ]
            for value, arm in arms.items()
        }
        for net, label in NETS.items()
        if (arms := runs.grid(pattern.format(net)))
    }
