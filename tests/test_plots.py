"""Pictures: they are made, they show something, and they leave matplotlib's global state alone."""

import subprocess
import sys

import numpy as np
import pytest

from jaxmeta import Batch, Estimate, Task, losses, plots


def pixels(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("L"))


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    batch = lambda n: Batch(rng.random((3, n, 8, 8, 1)), np.tile(np.arange(n) % 5, (3, 1)))
    return Task(batch(5), batch(20)), rng.random((3, 20, 5))


def test_learning_curve_from_history_and_rows(tmp_path):
    history = {"step": np.arange(100), "loss": np.geomspace(9, 0.1, 100), "accuracy": np.linspace(0.2, 0.9, 100)}
    validation = {"eval/step": [50, 99], "eval/accuracy": [0.4, 0.8], "eval/accuracy/ci95": [0.02, 0.01]}
    figure = plots.learning_curve(history | validation, tmp_path / "a.png", title="cost in $")
    assert [axis.get_ylabel() for axis in figure.axes] == ["accuracy (%)", "meta-loss"]
    rows = [
        {"step": 5, "loss": 1.0, "mse": 1.0},
        {"step": 9, "loss": None, "mse": 0.5, "eval/mse": 2.0, "eval/mse/ci95": 0.1},
    ]
    assert len(plots.learning_curve(rows, tmp_path / "b.png").axes) == 1  # a loss that is the metric is drawn once
    assert pixels(tmp_path / "a.png").std() > 5 and pixels(tmp_path / "b.png").std() > 5


def test_seeds_are_averaged():
    history = {"step": np.arange(3), "loss": np.ones((3, 2))}
    assert plots.learning_curve(history).axes[0].lines[0].get_ydata().tolist() == [1, 1, 1]


def test_episodes_tell_right_from_wrong(tmp_path, images):
    tasks, outputs = images
    outputs[0] = np.eye(5)[tasks.query.y[0]]
    outputs[1] = np.eye(5)[(tasks.query.y[1] + 1) % 5]
    figure = plots.episodes(tasks, outputs, tmp_path / "episodes.png", num_queries=4)
    colours = [axis.title.get_color() for axis in figure.axes if axis.get_title()]
    assert len(colours) == 3 * (5 + 4)
    assert colours[5:9] == [plots.RIGHT] * 4 and colours[14:18] == [plots.WRONG] * 4
    assert pixels(tmp_path / "episodes.png").std() > 5


def test_one_episode(images):
    tasks, outputs = images
    single = Task(*(Batch(batch.x[0], batch.y[0]) for batch in tasks))
    assert len(plots.episodes(single, outputs[0]).axes) == 5 + 1 + 10


def test_adaptation_curve(tmp_path):
    curve = {k: {"accuracy": Estimate(0.2 + 0.1 * k, 0.01, 100, False)} for k in (0, 1, 5)}
    figure = plots.adaptation_curve(curve, tmp_path / "curve.png")
    assert figure.axes[0].get_ylabel() == "accuracy (%), 100 tasks" and pixels(tmp_path / "curve.png").std() > 5


def test_fits(tmp_path):
    x = np.linspace(-5, 5, 10)[None, :, None].repeat(2, 0)
    tasks, grid = Task(Batch(x[:, ::3], np.sin(x[:, ::3])), Batch(x, np.sin(x))), np.linspace(-5, 5, 50)
    plots.fits(
        tasks, grid, {"before": np.zeros((2, 50)), "after": np.sin(grid)[None].repeat(2, 0)}, tmp_path / "fits.png"
    )
    assert pixels(tmp_path / "fits.png").std() > 5


def test_fits_with_uncertainty_have_a_band():
    x, grid = np.linspace(-5, 5, 10)[None, :, None], np.linspace(-5, 5, 50)
    believed = losses.Gaussian(np.zeros((1, 50, 1)), np.full((1, 50, 1), 0.5))
    (axis,) = plots.fits(Task(Batch(x, x), Batch(x, x)), grid, {"after": believed}).axes
    edges = axis.collections[0].get_datalim(axis.transData)
    np.testing.assert_allclose([edges.y0, edges.y1], [-1, 1])


def test_pyplot_is_not_loaded():
    code = (
        "import sys, jaxmeta as jm; jm.plots.learning_curve({'step': [1, 2], 'loss': [1.0, 2.0]}, None); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
