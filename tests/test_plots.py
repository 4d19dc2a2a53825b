"""Pictures: they are made, they show something, and they leave matplotlib's global state alone."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

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


def test_episodes_of_many_shots_show_each_class_by_name(images):
    tasks, outputs = images
    many = tasks._replace(support=Batch(tasks.query.x, np.sort(tasks.query.y, 1)))
    names = [[f"Magi.{k}/character{w:02d}" for w in range(5)] for k in range(3)]
    figure = plots.episodes(many, outputs, num_queries=5, num_support=10, names=names)
    titles = [axis.get_title() for axis in figure.axes[:10]]
    assert titles == [f"Magi.…ter0{w}" for w in range(5) for _ in range(2)]  # two of each, in order
    assert len(figure.axes) == 3 * (10 + 1 + 5)
    with pytest.raises(ValueError, match="`names` has 1 entries for 3 tasks"):
        plots.episodes(many, outputs, names=names[:1])


def test_long_names_of_siblings_stay_different():
    siblings = [f"Alphabet_{'of_the_' * 8}Magi/{kind}/sheet" for kind in ("character01", "character02")]
    figure = plots.confusion([0, 1], [0, 1], [*siblings, "x" * 99])
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(set(names)) == 3 and all(len(name) <= 32 for name in names)
    assert "character01" in names[0] or "1/sheet" in names[0]


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


def test_curves_of_several_runs(tmp_path):
    rows = lambda end: [{"step": s, "loss": end, "accuracy": end / 2} for s in (1, 2, 3)]
    validated = [row | {"eval/accuracy": 0.7, "eval/accuracy/ci95": 0.1} for row in rows(1.0)]
    runs = {"_a $x$ run": rows(0.5), "b": validated, "empty": []}
    figure = plots.learning_curves(runs, tmp_path / "runs.png")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    expected = ["\u200b_a \\$x\\$ run", "b", "empty"]
    assert texts == expected  # matplotlib hides names that begin with a line
    accuracy, loss = figure.axes
    assert accuracy.get_title() == "validation tasks with intervals, training tasks without"
    assert loss.get_title() == "training tasks" and loss.lines[0].get_marker() == "o"  # else one row would not be seen
    assert plots.learning_curves({"b": validated}).axes[0].get_title() == "validation tasks"
    assert accuracy.lines[0].get_ydata().tolist() == [25, 25, 25] and loss.lines[1].get_ydata().tolist() == [1, 1, 1]
    assert len(accuracy.containers) == 1 and pixels(tmp_path / "runs.png").std() > 5
    with pytest.raises(ValueError, match="`histories` has no row"):
        plots.learning_curves({"empty": []})


def test_confusion_counts(tmp_path):
    true, predicted = [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 0, 0]
    outputs = np.eye(3)[predicted]
    figure = plots.confusion(outputs, true, ["a$b$c", "<b>", "x" * 99], tmp_path / "confusion.png")
    (picture,) = figure.axes[0].images
    np.testing.assert_allclose(picture.get_array(), [[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]])
    cells = {tuple(map(int, text.get_position())): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "2", (1, 0): "1", (1, 1): "1", (0, 2): "2"}  # column, row
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[:2] == [r"a\$b\$c", "<b>"] and len(names[2]) == 32
    assert pixels(tmp_path / "confusion.png").std() > 5
    again = plots.confusion(np.array([predicted] * 2), np.array([true] * 2))
    assert again.axes[0].texts[0].get_text() == "4" and again.axes[0].get_yticklabels()[2].get_text() == "C"


def test_reliability_by_hand(tmp_path):
    """Two predictions at 0.88, of which one is right, and one at 0.57, which is right: bins 8 and 5 of ten."""
    p = np.array([[0.88, 0.12], [0.12, 0.88], [0.43, 0.57]])
    figure = plots.reliability(np.log(p)[None] + 7, np.array([[0, 0, 1]]), tmp_path / "r.png")
    heights = {round(bar.get_x(), 3): bar.get_height() for bar in figure.axes[0].patches}
    assert heights == {0.5: 1.0, 0.8: 0.5}
    error, nats = (2 * 0.38 + 0.43) / 3, -np.log([0.88, 0.12, 0.57]).mean()
    assert figure.axes[0].get_title() == f"calibration error {100 * error:.1f} %, {nats:.3f} nats"
    assert pixels(tmp_path / "r.png").std() > 5
    with pytest.raises(ValueError, match="logits .* need labels"):
        plots.reliability([[0.0, 1.0]], [0, 1])
    with pytest.raises(ValueError, match="whole numbers from 0 to 1"):
        plots.reliability([[0.0, 1.0]], [2])


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: plots.confusion([0, 1], [0]), "`predicted` has shape"),
        (lambda: plots.confusion([], []), "at least one"),
        (lambda: plots.confusion([0.5], [0.0]), "whole numbers"),
        (lambda: plots.confusion([0, 3], [0, 1], ["a", "b"]), "labels go from 0 to 3"),
        (lambda: plots.confusion([[1.0, 0.0]], [0], ["a"]), "`names` has 1 entries for 2"),
        (lambda: plots.embedding_map(np.ones((2, 3)), [0]), "one label for each"),
        (lambda: plots.embedding_map(np.ones((2, 3)), [0, -1]), "from 0"),
        (lambda: plots.embedding_map(np.full((2, 3), np.nan), [0, 1]), "NaN"),
        (lambda: plots.embedding_map(np.ones((2, 3)), [0, 1], np.ones((2, 4))), "4 dimensions"),
        (lambda: plots.embedding_map(np.ones((2, 3)), [0, 1], names=["a"]), "go up to 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_embedding_map_shows_the_plane_of_most_variance(tmp_path):
    rng = np.random.default_rng(0)
    plane, _ = np.linalg.qr(rng.normal(size=(30, 2)))
    flat = rng.normal(size=(60, 2)) * [5.0, 1.0]
    labels, centres = np.repeat([0, 1, 2], 20), np.zeros((3, 30))
    figure = plots.embedding_map(flat @ plane.T, labels, centres, tmp_path / "map.png", names=["a", "$b$", "_c"])
    axis = figure.axes[0]
    points = np.concatenate([marks.get_offsets() for marks in axis.collections[::2]])
    expected = flat - flat.mean(0)  # the plane is known: distances in it are those of the picture
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), np.linalg.norm(expected, axis=1))
    np.testing.assert_allclose(np.var(points, 0)[0] / np.var(expected, 0).sum(), 0.96, atol=0.02)
    star = axis.collections[1].get_offsets()[0]
    np.testing.assert_allclose(np.linalg.norm(star), np.linalg.norm(flat.mean(0)))
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", r"\$b\$", "\u200b_c"]
    assert pixels(tmp_path / "map.png").std() > 5


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (1, 5), (4, 2, 3)])
def test_embedding_map_of_few_dimensions(shape):
    axis = plots.embedding_map(np.arange(np.prod(shape)).reshape(shape), np.zeros(shape[0], int)).axes[0]
    assert np.isfinite(axis.collections[0].get_offsets()).all()


def test_names_are_drawn_as_they_read(tmp_path):
    """A name that would be broken mathematics, or cannot be encoded, is only text."""
    estimate = Estimate(0.5, 0.1, 4, False)
    bad = r"$\frac{$ \udcff" + "\n" + "$"
    plots.adaptation_curve({0: {bad: estimate}, 1: {bad: estimate}}, tmp_path / "a.png", title="$\\bad{$")
    plots.confusion([0], [0], [bad], tmp_path / "b.png", title=bad)
    plots.embedding_map(np.ones((1, 2)), [0], names=[bad], path=tmp_path / "c.png")
    x = np.linspace(-5, 5, 4)[None, :, None]
    plots.fits(Task(Batch(x, x), Batch(x, x)), x[0], {bad: x}, tmp_path / "d.png")


def test_pyplot_is_not_loaded():
    code = (
        "import sys, jaxmeta as jm; jm.plots.learning_curve({'step': [1, 2], 'loss': [1.0, 2.0]}, None); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_images_of_classes_keep_their_colours_and_proportions(tmp_path):
    red, wide = np.zeros((10, 10, 3), np.uint8), np.full((10, 40, 1), 255, np.uint8)
    red[..., 0] = 200
    plots.class_images({"red $x$": [red, red], "wide": [wide]}, tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    is_red = (abs(picture - [200, 0, 0]) < 3).all(-1)
    assert 2 * 80**2 < is_red.sum() < 2 * 90**2  # two squares of about 84 pixels, with a gap of 4
    assert not is_red[picture.shape[0] // 2 :].any()
    axes = plots.class_images({"dark": [np.zeros((10, 40, 1), np.uint8)]}).axes
    assert axes[0].images[0].get_extent() == [0, 84, 21, 0]
    for images, match in (({}, "holds no image"), ({"a": [np.zeros((4, 4, 3))]}, "but these are float64")):
        with pytest.raises(ValueError, match=match):
            plots.class_images(images)
