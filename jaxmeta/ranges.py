"""Types of numbers with a range, in annotations: values out of it are refused before anything is made or trained."""

import dataclasses
import math
from typing import Annotated, Any

MAX_INT = 2**31 - 1  # of an int32, which counts steps on the device


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that an argument may have, as a mark in ``Annotated``.

    Attributes:
      least: the smallest number.
      most: the largest number.
      words: the range in words, for messages.

    Example:
      >>> Range(1, 5, "from 1 to 5").complaint(7)
      'from 1 to 5'
    """

    least: float
    most: float
    words: str

    def complaint(self, value: Any) -> str | None:
        """Return the range in words if the value is a number outside of it."""
        if isinstance(value, int | float) and not self.least <= value <= self.most:
            return self.words
        return None

    def __str__(self) -> str:
        return self.words


def at_least(least: int, most: int = MAX_INT) -> Range:
    """Return the whole numbers from ``least`` to ``most``.

    Example:
      >>> str(at_least(1)), str(at_least(0, 9))
      ('a whole number of at least 1', 'a whole number from 0 to 9')
    """
    words = f"of at least {least}" if most == MAX_INT else f"from {least} to {most:,}"
    return Range(least, most, f"a whole number {words}")


_SMALLEST, _LARGEST = 1e-37, 3e38  # of a float32, without subnormal numbers

Finite = Annotated[float, Range(-_LARGEST, _LARGEST, "a finite number")]
Positive = Annotated[float, Range(_SMALLEST, _LARGEST, "a finite number greater than 0")]
NotNegative = Annotated[float, Range(0, _LARGEST, "a finite number of at least 0")]
Share = Annotated[float, Range(0, 1, "a number from 0 to 1")]
PositiveShare = Annotated[float, Range(_SMALLEST, 1, "a number greater than 0 and at most 1")]
OpenShare = Annotated[float, Range(_SMALLEST, math.nextafter(1, 0), "a number between 0 and 1")]

Count = Annotated[int, at_least(1)]
Whole = Annotated[int, at_least(0)]
Seed = Annotated[int, at_least(0)]
Ways = Annotated[int, at_least(1, 10_000)]
Examples = Annotated[int, at_least(1, 10_000)]
Tasks = Annotated[int, at_least(1, 10_000_000)]
InnerSteps = Annotated[int, at_least(1, 100_000)]
Width = Annotated[int, at_least(1, 65_536)]
Dims = Annotated[int, at_least(1, 10_000)]
Pixels = Annotated[int, at_least(16, 4_096)]
