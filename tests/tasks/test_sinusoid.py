"""Sine waves: the closed form, the ranges, the noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import tasks


def waves(n=4000, **options):
    sampler = tasks.sinusoid(**options)
    keys = jax.random.split(jax.random.key(0), n)
    indices = jax.jit(lambda s, k: jax.vmap(s.draw)(k))(sampler, keys)
    return indices, jax.jit(lambda s, i: jax.vmap(s.fetch)(i))(sampler, indices)


def test_closed_form():
    indices, task = waves(200, num_shots=5, num_queries=7)
    for batch, size in zip(task, (5, 7), strict=True):
        assert batch.x.shape == batch.y.shape == (200, size, 1)
        assert batch.x.dtype == batch.y.dtype == jnp.float32
        amplitude, phase = (
            np.asarray(a, float)[:, None, None] for a in (indices.numbers["amplitude"], indices.numbers["phase"])
        )
        np.testing.assert_allclose(batch.y, amplitude * np.sin(np.asarray(batch.x, float) - phase), atol=1e-5)


def test_a_wave_is_zero_at_its_phase_and_peaks_a_quarter_later():
    indices, _ = waves(3, num_shots=1, num_queries=1)
    sampler = tasks.sinusoid(num_shots=1, num_queries=1)
    for a, p in zip(indices.numbers["amplitude"], indices.numbers["phase"], strict=True):
        wave = jax.tree.map(lambda leaf: leaf[0], indices)
        wave = wave._replace(numbers={"amplitude": a, "phase": p}, x=jnp.stack([p, p + jnp.pi / 2])[:, None])
        task = sampler.fetch(wave)
        np.testing.assert_allclose([task.support.y[0, 0], task.query.y[0, 0]], [0, a], atol=1e-5)


def test_ranges_of_the_paper():
    indices, _ = waves()
    numbers = indices.numbers
    for values, low, high in [(numbers["amplitude"], 0.1, 5), (numbers["phase"], 0, np.pi), (indices.x, -5, 5)]:
        values = np.asarray(values)
        assert low <= values.min() and values.max() <= high
        spread = (high - low) / np.sqrt(12)
        assert abs(values.mean() - (low + high) / 2) < 4 * spread / np.sqrt(values.size)
        np.testing.assert_allclose(values.std(), spread, rtol=0.04)


def test_keywords():
    indices, task = waves(500, amplitude=(2, 2), phase=(0, 0), x=(0, 1), noise=0.1)
    residual = np.asarray(task.query.y) - 2 * np.sin(np.asarray(task.query.x))
    np.testing.assert_allclose(residual.std(), 0.1, rtol=0.05)
    assert 0 <= task.query.x.min() and task.query.x.max() <= 1


@pytest.mark.parametrize(
    "change, words",
    [
        ({"num_shots": 0}, ["`num_shots`", "positive", "0"]),
        ({"amplitude": (5, 1)}, ["`amplitude`", "range", "(5, 1)"]),
        ({"phase": (0, np.inf)}, ["`phase`", "finite", "inf"]),
        ({"x": (1,)}, ["`x`", "range", "(1,)"]),
        ({"noise": -1.0}, ["`noise`", ">= 0", "-1.0"]),
        ({"noise": np.nan}, ["`noise`", "nan"]),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError) as raised:
        tasks.sinusoid(**change)
    assert all(word in str(raised.value) for word in words), str(raised.value)
