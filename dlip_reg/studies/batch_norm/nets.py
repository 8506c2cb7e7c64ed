"""Networks with, without and with a placebo of batch normalization, compared and drawn."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dlip_reg.evidence import Question, Values
from dlip_reg.studies import Claim, Control, Measured, Part, Runs
from dlip_reg.studies.batch_norm.arms import NETS, PLACEBO
from dlip_reg.studies.study import NEGATIVE, claimed, controlled
from dlip_reg.training import Record

WHAT_THE_PLACEBO_IS = (
    "The scale and shift of batch norm without normalization in place of batch norm, against the "
    "plain network: as many parameters, tuned alike."
)
Read = Callable[[Record], float | None]


def with_placebo(*arms: str, description: str = WHAT_THE_PLACEBO_IS) -> Callable[[Claim], Claim]:
    """Add a negative control to a claim: the placebo in place of batch norm.

    A decorator, above `claimed`. The measure has to take the name of the treated network.

    Args:
        arms: The arms that the control reads, with "{}" for the name of the network.
        description: What is compared with what.
    """

    def add(claim: Claim) -> Claim:
        untreated = partial(claim.measure, treated=PLACEBO)
        control = Control(NEGATIVE, description, untreated, _over("plain", PLACEBO, arms=arms))
        return controlled(control)(claim)

    return add


def against_plain(
    id: str, unit: str, question: Question, *arms: str, **fields: Any
) -> Callable[[Callable[..., Measured]], Claim]:
    """`claimed` for batch norm against the plain network in `arms`, and `with_placebo`."""
    claim = claimed(id, unit, question, *_over("plain", "bn", arms=arms), **fields)
    return lambda measure: with_placebo(*arms)(claim(measure))


def _over(*nets: str, arms: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(arm.format(net) for arm in arms for net in nets))


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
