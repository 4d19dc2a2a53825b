"""Domains by name, measured apart; ranks by hand."""

import jax
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta.types import Estimate


def test_domains_are_drawn_by_their_weights_and_one_can_be_held_out():
    samplers = {"waves": jm.tasks.sinusoid(x=(10, 11)), "lines": jm.tasks.lines(), "far": jm.tasks.lines(x=(20, 21))}
    found = jm.tasks.domains(samplers, {"far": 2, "waves": 1, "lines": 1})
    draw = lambda sampler: np.asarray(jax.jit(jax.vmap(sampler))(jax.random.split(jax.random.key(0), 2000)).query.x)
    lowest = draw(found).min((1, 2))
    assert abs((lowest >= 20).mean() - 0.5) < 0.05 and abs(((lowest >= 10) & (lowest < 20)).mean() - 0.25) < 0.04
    rest = found.without("far")
    lowest = draw(rest).min((1, 2))
    assert rest.names == ("waves", "lines") and abs((lowest >= 10).mean() - 0.5) < 0.05 and lowest.max() < 20
    with pytest.raises(ValueError, match=r"`name` must be one of several domains \['waves', 'lines'\], got 'far'"):
        rest.without("far")
    with pytest.raises(ValueError, match="`weights` must name the domains"):
        jm.tasks.domains(samplers, {"far": 2})


def test_ranks_by_hand():
    table = {
        "a": {"x": Estimate(0.90, 0.01, 9, False), "y": Estimate(0.50, 0.01, 9, False)},
        "b": {"x": Estimate(0.89, 0.01, 9, False), "y": Estimate(0.70, 0.01, 9, False)},
        "c": {"x": Estimate(0.60, 0.01, 9, False), "y": Estimate(0.60, 0.01, 9, False)},
    }
    assert jm.average_ranks(table) == {"a": (1.5 + 3) / 2, "b": (1.5 + 1) / 2, "c": (3 + 2) / 2}
    assert jm.average_ranks(table, larger_is_better=False) == {"a": (2.5 + 1) / 2, "b": (2.5 + 3) / 2, "c": (1 + 2) / 2}
    with pytest.raises(ValueError, match="`table` must have the same domains"):
        jm.average_ranks({"a": table["a"], "b": {"x": table["b"]["x"]}})
