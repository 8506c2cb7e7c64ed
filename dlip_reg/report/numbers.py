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
    """A number somebody chose, without trailing zeros: 0.05, −0.2, 95."""
    return f"{number + 0.0:.6g}".replace("-", "−")


def format_interval(low: float | None, high: float | None) -> str:
    """ "[low, high]" with two significant digits of the half-width; "" if there is no interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    decimals = _decimals(low, high)
    if decimals is None:
        return f"[{format_number(low)}, {format_number(high)}]"
    return f"[{_fixed(low, decimals)}, {_fixed(high, decimals)}]"


def format_estimate(effect: float | None, low: float | None, high: float | None) -> str:
    """ "effect [low, high]", all to the decimals that the interval's width warrants."""
    interval = format_interval(low, high)
    if not interval or effect is None or not math.isfinite(effect):
        return format_number(effect)
    decimals = _decimals(low, high)
    mean = format_number(effect) if decimals is None else _fixed(effect, decimals)
    return f"{mean} {interval}"


def format_p_value(p_value: float | None) -> str:
    """ "p = 0.012" or "p < 0.001"; "" if there is none."""
    if p_value is None or not math.isfinite(p_value):
        return ""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def _decimals(low: float, high: float) -> int | None:
    """Decimals that show two digits of the half-width, of thousands below 0: 1,230 [1,000, 1,470].

    None where fixed decimals don't fit.
    """
    half_width = (high - low) / 2
    largest = max(abs(low), abs(high))
    if half_width <= 0 or largest >= 1e6:
        return None
    decimals = 1 - math.floor(math.log10(half_width))
    if largest < 1000:
        decimals = max(0, decimals)
    return decimals if decimals <= 6 else None


def _fixed(number: float, decimals: int) -> str:
    text = f"{round(number, decimals):,.{max(0, decimals)}f}"
    if float(text.replace(",", "")) == 0:  # no "−0.00"
        text = text.removeprefix("-")
    return text.replace("-", "−")
