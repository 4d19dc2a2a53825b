"""Every number of every sampler's factory is checked: NaN, infinity, sizes below 1, wrong types."""

import math

import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.types import ClassSet

NAMES = tuple(f"{a}/{i}" for a in "ab" for i in range(3))
DATA = ClassSet(np.zeros([24, 6, 6, 1], np.uint8), np.arange(0, 24, 4), np.full(6, 4), NAMES)
LAYOUT = {"num_ways": 2, "num_shots": 1, "num_queries": 1}
FACTORIES = {
    "episodes": lambda **changes: tasks.episodes(DATA, **{**LAYOUT, **changes}),
    "batches": lambda **changes: tasks.batches(DATA, **{"batch_size": 4, **changes}),
    "streamed": lambda **changes: tasks.streamed(DATA, **{**LAYOUT, **changes}),
    "glyphs": tasks.glyphs,
    "sinusoid": tasks.sinusoid,
    "lines": tasks.lines,
    "quadratics": tasks.quadratics,
    "mixture": lambda **changes: tasks.mixture(tasks.lines(), tasks.sinusoid(), **changes),
    "rotated": lambda **changes: tasks.rotated(tasks.glyphs(), **{"degrees": 30, **changes}),
    "augmented": lambda **changes: tasks.augmented(tasks.glyphs(), **changes),
    "stream": lambda **changes: tasks.stream(DATA, **{"num_phases": 2, "classes_per_phase": 3, **LAYOUT, **changes}),
}
SIZES = {
    "episodes": ["num_ways", "num_shots", "num_queries"],
    "batches": ["batch_size"],
    "streamed": ["num_ways", "num_shots", "num_queries", "num_threads"],
    "glyphs": ["num_ways", "num_shots", "num_queries", "size", "num_strokes"],
    "sinusoid": ["num_shots", "num_queries"],
    "lines": ["num_shots", "num_queries"],
    "quadratics": ["num_dims"],
    "stream": ["num_phases", "classes_per_phase", "num_ways", "num_shots", "num_queries"],
}
NUMBERS = {
    "glyphs": ["jitter"],
    "sinusoid": ["noise"],
    "lines": ["noise"],
    "quadratics": ["scale"],
    "rotated": ["degrees"],
    "augmented": ["crop", "jitter"],
    "stream": ["max_degrees"],
}
RANGES = {"sinusoid": ["amplitude", "phase", "x"], "lines": ["slope", "intercept", "x"]}
ODD = [math.nan, math.inf, -math.inf, 1e39, "0.5", None, True, [1.0, 2.0, 3.0]]
CASES = (
    [(made, name, value) for made, names in SIZES.items() for name in names for value in (0, -1, 1.5, math.nan, "2")]
    + [(made, name, value) for made, names in NUMBERS.items() for name in names for value in ODD]
    + [
        (made, name, value)
        for made, names in RANGES.items()
        for name in names
        for value in ((0, math.nan), (-math.inf, 0), (0, 1e39), (2, 1), (1,), 3, None, ("a", "b"))
    ]
    + [("mixture", "weights", value) for value in ((1, math.nan), (1, math.inf), (0, 1), (1, -1), (1, "2"), (1,))]
    + [("quadratics", "scale", 0), ("sinusoid", "noise", -1), ("glyphs", "jitter", -1), ("stream", "seed", -1)]
)


@pytest.mark.parametrize("made", FACTORIES)
def test_odd_numbers_are_refused_by_name(made):
    for name, value in [(name, value) for factory, name, value in CASES if factory == made]:
        with pytest.raises((TypeError, ValueError)) as raised:
            FACTORIES[made](**{name: value})
        assert f"`{name}`" in str(raised.value), f"{name}={value!r}: {raised.value}"


def test_numbers_of_numpy_and_ranges_of_arrays_are_numbers():
    tasks.sinusoid(num_shots=np.int64(3), noise=np.float32(0.5), amplitude=np.array([1.0, 2.0]))
    tasks.rotated(tasks.glyphs(), np.float64(-370.0))
