"""Checks of the numbers that samplers are made from: each error names the argument and its value."""

import math
import operator
from typing import Any

import numpy as np


def positive(name: str, value: Any) -> int:
    """Return ``value`` as an int.

    Raises:
      TypeError, ValueError: if it is not a positive whole number.

    Example:
      >>> positive("num_shots", 5)
      5
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be a whole number, got {value!r} ({type(value).__name__}).") from None
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"`{name}` must be a positive whole number, got {value!r}.")
    return number


def span(name: str, value: Any) -> tuple[int, int]:
    """Return ``value`` as a range of positive integers, ends included; a number ``n`` becomes ``(n, n)``.

    Raises:
      TypeError, ValueError: if it is neither a positive whole number nor a rising pair of them.

    Example:
      >>> span("num_ways", 5), span("num_ways", (2, 5))
      ((5, 5), (2, 5))
    """
    if not isinstance(value, tuple | list):
        number = positive(name, value)
        return number, number
    if len(value) != 2:
        raise ValueError(f"`{name}` must be a number or a pair (smallest, largest), got {value!r}.")
    low, high = positive(name, value[0]), positive(name, value[1])
    if low > high:
        raise ValueError(f"`{name}` is a range (smallest, largest), got {value!r}; write ({high}, {low}).")
    return low, high


def finite(name: str, value: Any) -> float:
    """Return ``value`` as a float.

    Raises:
      TypeError: if it is no number.
      ValueError: if it is NaN or infinite, or becomes infinite in float32.

    Example:
      >>> finite("noise", 1e39)
      Traceback (most recent call last):
      ValueError: `noise` must be finite in float32, got 1e+39.
    """
    try:
        number = None if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        number = None
    except OverflowError:  # of a long integer
        number = math.inf
    if number is None:
        raise TypeError(f"`{name}` must be a number, got {value!r} ({type(value).__name__}).")
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise ValueError(f"`{name}` must be finite in float32, got {value!r}.")
    return number


def at_least_zero(name: str, value: Any) -> float:
    """Return ``value`` as a finite float that is not negative, or raise as `finite` does.

    Example:
      >>> at_least_zero("noise", 0)
      0.0
    """
    number = finite(name, value)
    if number < 0:
        raise ValueError(f"`{name}` must be >= 0, got {value!r}.")
    return number


def interval(name: str, value: Any) -> tuple[float, float]:
    """Return ``value`` as a range of finite floats (smallest, largest), which may be equal.

    Raises:
      ValueError: if it is no pair of finite numbers in rising order.

    Example:
      >>> interval("phase", (0, 3))
      (0.0, 3.0)
    """
    try:
        low, high = (finite(name, bound) for bound in value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be a finite range (smallest, largest), got {value!r}.") from None
    if low > high:
        raise ValueError(f"`{name}` is a range (smallest, largest), got {value!r}; write ({high:g}, {low:g}).")
    return low, high
