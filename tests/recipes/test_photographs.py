"""`photographs`: one's own folders, Grocery, published splits; every algorithm has a learner that its tasks fit."""

import io
import zipfile
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pytest
from PIL import Image

import jaxmeta as jm
from jaxmeta.datasets._published import class_names
from jaxmeta.datasets._registry import DATASETS
from jaxmeta.recipes import photographs
from jaxmeta.recipes._photographs import Algorithm
from jaxmeta.recipes._tables import PHOTOGRAPHS as FIGURES
from jaxmeta.recipes._tables import published_photographs as published
from jaxmeta.tasks._augmented import Augmented

GROCERY = Path(__file__).parents[3] / "shared" / "data" / "grocery"
SMALL = {"size": 16, "num_ways": 3, "num_shots": 2, "num_queries": 2, "num_test_queries": 3, "features": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))


def coloured(value) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 16), value).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A zip of four classes in each of train, val and test, of 5 to 8 images."""
    path, rng = tmp_path_factory.mktemp("own") / "own.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "val", "test"):
            for c in range(4):
                for i in range(5 + c):
                    archive.writestr(f"{split}/{split}{c}/{i}.png", coloured(tuple(rng.integers(0, 256, 3).tolist())))
    return str(path)


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_every_algorithm_fits_its_tasks(own, algorithm):
    if algorithm == "metaoptnet":
        pytest.importorskip("qpax")
    e, key = photographs(data_dir=own, algorithm=algorithm, **SMALL), jax.random.key(0)
    task, test = jax.eval_shape(e.train, key), jax.eval_shape(e.test, key)
    meta = jax.eval_shape(e.learner.init, key, task)
    loss, _ = jax.eval_shape(e.learner.loss, meta, task, key)
    outputs = jax.eval_shape(lambda m, t: e.learner.predict(m, e.learner.adapt(m, t.support), t.query.x), meta, test)
    assert loss.shape == () and outputs.shape == (9, 3) and test.query.x.shape == (9, 16, 16, 3)
    jax.eval_shape(e.optimizer.init, meta.params)


def test_own_photographs_by_split(own):
    e = photographs(data_dir=own, eval_every=10, num_train_ways=4, **SMALL)
    assert isinstance(e.train, Augmented) and not isinstance(e.test, Augmented)  # only training is augmented
    assert e.eval_every == 10 and e.val.count.tolist() == e.test.count.tolist() == [5, 6, 7, 8]
    task = e.train(jax.random.key(0))
    assert task.support.x.shape == (8, 16, 16, 3) and len(task.support.ways) == 4
    assert photographs(data_dir=own, **SMALL).val is None


def classes_in(path, names, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for value, name in enumerate(names):
            for i in range(6):
                archive.writestr(f"{prefix}{name}/{i}.png", coloured((value, 0, 0)))
    return str(path)


def names_of(e):
    return {split: set(sampler.names) for split in ("val", "test") if (sampler := e.tasks(split)) is not None}


def test_one_folder_of_classes_is_split_by_name(tmp_path):
    names = [f"kind {i}" for i in range(20)]
    path = classes_in(tmp_path / "a.zip", names)
    e = photographs(data_dir=path, **SMALL)
    train, test = set(e.train.sampler.names), set(e.test.names)
    assert len(test) == 4 and train | test == set(names) and not train & test and e.val is None
    assert e.note() == f"of 20 classes 4 are held out, to test on {', '.join(sorted(test))}"
    # The same classes from a folder, and with other pictures beside them: names alone decide.
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    assert set(photographs(data_dir=str(tmp_path / "folder"), **SMALL).test.names) == test
    assert set(photographs(data_dir=path, held_out=0.4, **SMALL).test.names) > test
    # Validation gets as many, and takes them from training.
    e = photographs(data_dir=path, eval_every=5, **SMALL)
    found = names_of(e)
    assert found["test"] == test and len(found["val"]) == 4 and set(e.train.sampler.names) == train - found["val"]
    assert e.note().startswith("of 20 classes 8 are held out, to test on kind ") and "; to validate on kind" in e.note()
    x, classes = np.asarray(e.test.x), [names.index(name) for name in e.test.names]
    assert [int(x[start, 0, 0, 0]) for start in e.test.start] == classes  # pictures stay with their names


def test_held_out_classes_are_enough_for_a_task_or_it_is_refused(tmp_path):
    path = classes_in(tmp_path / "a.zip", "abcdef")
    e = photographs(data_dir=path, **SMALL)  # three ways: a fifth of six classes would not do
    assert len(e.test.names) == 3 == len(e.train.sampler.names)
    with pytest.raises(ValueError, match="3 held out to test on, 3 are left to train on, but a task of training has 4"):
        photographs(data_dir=path, num_train_ways=4, **SMALL).prepare()
    with pytest.raises(ValueError, match="to test on and 3 to validate on, 0 are left"):
        photographs(data_dir=path, eval_every=5, **SMALL).prepare()
    for part in (0.0, 1.0, -0.2):
        with pytest.raises(ValueError, match=f"`held_out`.* must be .*between 0 and 1, got {part}"):
            photographs(data_dir=path, held_out=part, **SMALL).prepare()


def test_folders_that_say_what_is_held_out_are_never_split_again(own, tmp_path):
    e = photographs(data_dir=own, held_out=0.9, **SMALL)
    assert set(e.test.names) == {f"test{c}" for c in range(4)} and e.note() == "not used: val/"
    names = [f"{part}/{part}{c}" for part in ("Train", "testing") for c in range(4)]
    e = photographs(data_dir=classes_in(tmp_path / "a.zip", names, "photos/"), **SMALL)  # an enclosing folder
    assert set(e.train.sampler.names) == {f"Train{c}" for c in range(4)}
    assert set(e.test.names) == {f"testing{c}" for c in range(4)}


@pytest.mark.parametrize("backbone, size", [("conv4", 4), ("resnet12", 40)])
def test_backbones_and_their_precision(own, backbone, size):
    e = photographs(data_dir=own, backbone=backbone, dtype="bfloat16", **SMALL)
    task = jax.eval_shape(e.train, jax.random.key(0))
    meta = jax.eval_shape(e.learner.init, jax.random.key(0), task)
    prototypes = jax.eval_shape(e.learner.adapt, meta, task.support)
    assert prototypes.means.shape == (3, size) and prototypes.means.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(meta.params)} == {np.dtype("float32")}


@pytest.mark.slow
def test_it_learns_colours(tmp_path):
    """Classes are hues; from a random start Conv4 mixes them up, and soon no more."""
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(tmp_path / "hues.zip", "w") as archive:
        for split, hues in (("train", range(0, 240, 24)), ("test", range(12, 252, 24))):
            for hue in hues:
                for i in range(6):
                    file, (s, v) = io.BytesIO(), rng.integers(40, 256, 2).tolist()
                    Image.new("HSV", (16, 16), (hue, s, v)).convert("RGB").save(file, "PNG")
                    archive.writestr(f"{split}/{hue}/{i}.png", file.getvalue())
    e = photographs(
        data_dir=str(tmp_path / "hues.zip"), num_steps=60, jitter=0.1, meta_lr=3e-3, tasks_per_step=2, **SMALL
    )
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0))
    before = jm.evaluate(e.learner, state.meta, e.test, num_tasks=50)["accuracy"]
    state, _ = jm.fit(e.learner, e.train, e.optimizer, state, num_steps=60, tasks_per_step=2)
    after = jm.evaluate(e.learner, state.meta, e.test, num_tasks=50)["accuracy"]
    assert after.mean - after.ci95 > before.mean + before.ci95, (before, after)


def test_what_is_wrong_is_said_before_any_work(own, tmp_path):
    with pytest.raises(ValueError, match="`data_dir` is None, and the photographs are your own"):
        photographs().prepare()
    with pytest.raises(ValueError, match="`num_train_ways` is 4, but this algorithm's head has one output"):
        photographs(data_dir=own, algorithm="maml", num_train_ways=4, **SMALL)
    with pytest.raises(ValueError, match="`download` is for data sets that a program may fetch"):
        photographs(data_dir=own, download=True).prepare()
    with pytest.raises(ValueError, match="is 5 \\+ 15 = 20 but class 'test0' has only 5 examples"):
        layout = {"num_ways": 3, "num_queries": 1, "num_shots": 5, "num_test_queries": 15}
        photographs(data_dir=own, **layout, size=16, algorithm="rfs").prepare()
    skips = r"'test', where `num_queries` is `num_test_queries`. To leave out 'test0', .*, pass `min_images=20`"
    with pytest.raises(ValueError, match=skips):
        photographs(data_dir=own, **layout, size=16).prepare()
    with pytest.raises(ValueError, match=r"These are the classes of 'train', where `num_ways` is `num_train_ways`"):
        photographs(data_dir=own, num_train_ways=99, **SMALL).prepare()
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "cat" / "1.png")
    with pytest.raises(ValueError, match=r"`data_dir`: .* has 1 classes and no folders train and test"):
        photographs(data_dir=str(tmp_path), **SMALL).prepare()
    (tmp_path / "train").mkdir()
    (tmp_path / "cat").rename(tmp_path / "train" / "cat")
    with pytest.raises(ValueError, match=r"`data_dir`: .* has 'train', but no folder 'test' beside it. Expected test/"):
        photographs(data_dir=str(tmp_path), **SMALL).prepare()


def test_published_splits_reach_the_recipe(tmp_path):
    with zipfile.ZipFile(tmp_path / "cifar.zip", "w") as archive:
        for c in (c for names in class_names("cifar_fs").values() for c in names):
            for i in range(5):
                archive.writestr(f"data/{c}/{i}.png", coloured((i, 0, 0)))
    e = photographs(dataset="cifar_fs", data_dir=str(tmp_path / "cifar.zip"), **SMALL | {"num_ways": 5, "size": None})
    assert e.train.sampler.count.size == 64 and e.test.count.size == 20 and e.test.x.shape == (100, 32, 32, 3)
    assert e.published == "none; there is no figure for protonet with conv4 on cifar_fs, 5w2s"


def test_figures_are_of_things_that_there_are():
    for name in FIGURES:
        dataset, backbone, algorithm, size = name.split()
        assert dataset in DATASETS and algorithm in get_args(Algorithm) and FIGURES[name].mean > 20
        assert published(dataset, backbone, algorithm, size) == str(FIGURES[name])
    assert len(FIGURES) == 2 * 34 - 1  # Chen et al. print no relation network of 5 shots on birds
    assert published("grocery", "conv4", "protonet", "5w5s").startswith("none; ")


def test_grocery():
    if not GROCERY.is_dir():
        pytest.skip("needs the project's shared data: shared/data/grocery beside the checkout")
    e = photographs(dataset="grocery", data_dir=str(GROCERY), eval_every=100)
    assert (e.train.sampler.count.size, e.val.count.size, e.test.count.size) == (55, 8, 18)
    task = jax.eval_shape(e.test, jax.random.key(0))
    assert task.support.x.shape == (25, 84, 84, 3) and task.query.x.shape == (75, 84, 84, 3)
