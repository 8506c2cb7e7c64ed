"""Compare runs at the same training loss instead of the same number of steps.

A curve holds the losses of one run at successive probes: index 0 is the untrained network, and
None or NaN stands where the loss was not finite. Between two probes the logarithm of the loss is
taken as linear in the probe index.
"""

import math
from collections.abc import Sequence

Curve = Sequence[float | None]


def common_levels(curves: Sequence[Curve], count: int) -> tuple[float, ...]:
    """Choose losses that all runs pass after their first probe.

    Args:
        curves: The loss curves of the runs to compare.
        count: How many levels to choose, at least 1.

    Returns:
        Levels evenly spaced in log, from the largest loss that every run has left behind (the
        smallest of their losses at probe 1) down to the smallest loss that all have reached (the
        largest of their minima); the middle of this range if `count` is 1, one level if the range
        is a single loss, and () if the runs have no loss in common.
    """
    # A loss of 0 has no logarithm. It is passed over here, and `crossing` can still cope with it.
    trained = [[loss for loss in map(_number, curve[1:]) if loss > 0] for curve in curves]
    if not trained or not all(trained):
        return ()
    top = min(losses[0] for losses in trained)
    bottom = max(min(losses) for losses in trained)
    if top < bottom:
        return ()
    if top == bottom:
        return (top,)
    if count == 1:
        return (math.sqrt(top * bottom),)
    levels = (top * (bottom / top) ** (i / (count - 1)) for i in range(1, count - 1))
    # Rounding must not put a level below a run's own minimum.
    return (top, *(max(level, bottom) for level in levels), bottom)


def crossing(curve: Curve, level: float) -> float:
    """Find where a run first reaches a loss.

    Args:
        curve: The run's loss curve.
        level: The loss to reach, above 0.

    Returns:
        A fractional probe index: with i >= 1 the first probe at which the loss is at most `level`,
        the point between probes i - 1 and i at which it equals `level`; i itself where the loss at
        i - 1 is not finite or, with i = 1, not above `level`. NaN if the run never gets there.
    """
    for i in range(1, len(curve)):
        after = _number(curve[i])
        if not after <= level:
            continue
        before = _number(curve[i - 1])
        if not before > level:
            return float(i)
        if after > 0:
            # ln(before / level) / ln(before / after), exact for losses that are almost equal.
            fall = math.log1p((before - after) / after)
            return i - 1 + math.log1p((before - level) / level) / fall
        return i - 1 + (before - level) / (before - after)
    return math.nan


def value_at(values: Curve, position: float) -> float:
    """Interpolate linearly between the values at successive probes.

    Args:
        values: One value per probe; None or NaN where there is none.
        position: A fractional probe index, as `crossing` returns it.

    Returns:
        The value there. NaN if `position` is NaN or outside the probes, or a value that it lies
        between is missing; a whole index needs its own value only.
    """
    if not 0 <= position <= len(values) - 1:
        return math.nan
    index = math.floor(position)
    before, share = _number(values[index]), position - index
    return before + share * (_number(values[index + 1]) - before) if share else before


def at_levels(curve: Curve, values: Curve, levels: Sequence[float]) -> tuple[float, ...]:
    """Interpolate a run's values at the points where it first reaches each level of the loss.

    Args:
        curve: The run's loss curve.
        values: What was measured at the same probes.
        levels: Losses, as `common_levels` chooses them.

    Returns:
        One value per level; NaN for a level that the run does not reach.

    Raises:
        ValueError: If `curve` and `values` differ in length.
    """
    if len(curve) != len(values):
        raise ValueError(f"{len(curve)} losses do not match {len(values)} values.")
    return tuple(value_at(values, crossing(curve, level)) for level in levels)


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)
