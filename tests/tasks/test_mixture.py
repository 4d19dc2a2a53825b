"""Lines by their closed form; a mixture takes each task from one of its samplers, as often as its weight says."""

import jax
import numpy as np
import pytest

from jaxmeta import tasks

KEYS = jax.random.split(jax.random.key(0), 2_000)


def draw(sampler, keys=KEYS):
    return jax.jit(lambda s, k: jax.vmap(s)(k))(sampler, keys)


def test_lines_are_straight_and_within_their_ranges():
    found = jax.jit(lambda s, k: jax.vmap(s.draw)(k))(tasks.lines(slope=(1, 2), intercept=(-4, -3)), KEYS)
    task = draw(tasks.lines(slope=(1, 2), intercept=(-4, -3)))
    slope, intercept = (np.asarray(found.numbers[name], float)[:, None, None] for name in ("slope", "intercept"))
    np.testing.assert_allclose(task.query.y, slope * np.asarray(task.query.x, float) + intercept, atol=1e-5)
    assert 1 <= slope.min() < 1.01 and 1.99 < slope.max() <= 2 and -4 <= intercept.min() and intercept.max() <= -3


def test_every_task_of_a_mixture_is_one_of_its_samplers_own():
    task = draw(tasks.mixture(tasks.sinusoid(amplitude=(1, 1), x=(10, 11)), tasks.lines(slope=(0, 0)), weights=(1, 3)))
    x, y = np.asarray(task.query.x)[..., 0], np.asarray(task.query.y)[..., 0]
    waves, flat = x.min(1) >= 10, np.ptp(y, 1) < 1e-6
    assert (waves ^ flat).all()
    assert abs(flat.mean() - 0.75) < 4 * (0.75 * 0.25 / len(KEYS)) ** 0.5


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: tasks.mixture(), ["`weights`", "0 samplers"]),
        (lambda: tasks.mixture(tasks.lines(), weights=(1, 2)), ["`weights`", "(1, 2)"]),
        (lambda: tasks.mixture(tasks.lines(), tasks.lines(), weights=(1, -2)), ["positive", "-2"]),
        (
            lambda: tasks.mixture(tasks.lines(), tasks.sinusoid(num_shots=3)),
            ["one shape", "number 1", "support.x': 'float32[3, 1]"],
        ),
        (lambda: tasks.lines(slope=(2, 1)), ["`slope`", "range", "(2, 1)"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert all(word in str(raised.value) for word in words), str(raised.value)
