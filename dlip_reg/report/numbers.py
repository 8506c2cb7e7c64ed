"""How numbers are written for people: significant digits, thousands apart, true minus signs."""

from __future__ import annotations

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(number: float | None, digits: int = 3) -> str:
    """`number` to `digits` significant digits: 0.0123, 163,000, 1.23 × 10⁻⁶; "–" if not finite."""
    if number is None or not math.isfinite(number):
        return "–"
    if number == 0:
        return "0"
    mantissa, _, exponent = f"{number:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if -5 < power < 6:
        return _fixed(number, digits - 1 - power)
    return f"{mantissa} × 10{str(power).translate(SUPERSCRIPTS)}".replace("-", "−")


def format_constant(number: float) -> str:
    """A number somebody chose, without trailing zeros: 0.05, −0.2, 95, 3 × 10⁻⁵."""
    mantissa, _, exponent = f"{number + 0.0:.6g}".partition("e")
    power = f" × 10{str(int(exponent)).translate(SUPERSCRIPTS)}" if exponent else ""
    return f"{mantissa}{power}".replace("-", "−")


def format_estimate(effect: float | None, low: float | None, high: float | None) -> str:
    """ "effect [low, high]", all to the decimals that the interval's width warrants.

    The effect alone where there is no interval, or one without width: all seeds gave this number.
    """
    known = [n for n in (effect, low, high) if n is not None and math.isfinite(n)]
    if len(known) < 3 or low == high:
        return format_number(effect)
    decimals = _decimals(*known[1:])
    mean, *bounds = (
        format_number(number) if decimals is None else _fixed(number, decimals) for number in known
    )
    return f"{mean} [{', '.join(bounds)}]"


def format_ratio(log_ratio: float | None, decimals: int | None = None) -> str:
    """A ratio given as its natural logarithm: "45 % smaller", "2.0 times as large".

    Args:
        log_ratio: The logarithm.
        decimals: Those of a percentage; default: one below 10 %.
    """
    if log_ratio is None or not -300 < log_ratio < 300:
        return "–"
    ratio = math.exp(log_ratio)
    if ratio >= 1.95 or ratio < 1e-5:
        return f"{format_number(ratio, 2)} times as large"
    if ratio < 0.01:
        return f"1/{format_number(1 / ratio, 2)} as large"
    percent = abs(100 * (ratio - 1))
    if decimals is None:
        decimals = 1 if percent < 9.95 else 0
    if round(percent, decimals) == 0:
        return "about equally large"
    return f"{_fixed(percent, decimals)} % {'larger' if ratio > 1 else 'smaller'}"


def _decimals(low: float, high: float) -> int | None:
    """Decimals that show two digits of the half-width, negative for tens: 20 [−110, 150].

    None where fixed decimals don't fit.
    """
    half_width = (high - low) / 2
    if half_width <= 0 or max(abs(low), abs(high)) >= 1e6:
        return None
    decimals = 1 - math.floor(math.log10(half_width))
    # Up to two more where a bound on one side of 0 would read as 0.
    hidden = [round(bound, decimals) == 0 for bound in (low, high) if bound]
    if any(hidden):
        smallest = min(abs(bound) for bound in (low, high) if bound)
        decimals = min(decimals + 2, -math.floor(math.log10(smallest)))
    return decimals if decimals <= 6 else None


def _fixed(number: float, decimals: int) -> str:
    text = f"{round(number, decimals):,.{max(0, decimals)}f}"
    if float(text.replace(",", "")) == 0:  # no "−0.00"
        text = text.removeprefix("-")
    return text.replace("-", "−")
