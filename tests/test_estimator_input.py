"""What the estimators do with input that is odd, mixed, damaged, or a stranger's."""

import copy
import json
import pickle

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from nets import start_of_run
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import Ridge

import jaxmeta as jm
from jaxmeta import FewShotClassifier, FewShotRegressor
from jaxmeta.estimator._arrays import inputs_for
from jaxmeta.estimator._compiled import compiled

MLP = jm.protonet(jm.from_linen(jm.backbones.MLP((16,), num_outputs=8)))


def blobs(shots=(4, 6, 5), size=5):
    """Three clouds of points, of unequal size."""
    rng = np.random.default_rng(0)
    y = np.repeat(["ant", "bee", "cow"], shots)
    return rng.normal(size=(len(y), size)) + 4 * np.eye(size)[np.repeat([0, 1, 2], shots)], y


def images(shots=(2, 3, 2)):
    X = np.random.default_rng(0).integers(0, 256, (sum(shots), 28, 28, 1), np.uint8)
    return X, np.repeat(["a", "b", "c"], shots)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return start_of_run(tmp_path_factory.mktemp("run"), "glyphs_maml", num_ways=3, features=8)


def test_bytes_and_numbers_are_in_one_unit(run):
    """Bytes are scaled and numbers are not: what joins the two is converted, or refused, never taken as it is."""
    X, y = images()
    classifier = FewShotClassifier.load(run, num_steps=1).fit(X, y)
    p = classifier.predict_proba(X)
    np.testing.assert_allclose(classifier.predict_proba(X / np.float32(255)), p, atol=1e-5)
    for wrong in (X.astype(np.float32), X.astype(int), (X > 9).astype(int)):
        with pytest.raises(ValueError, match="Pass both as bytes|Pass uint8, which is scaled"):
            classifier.predict(wrong)
        with pytest.raises(ValueError, match="Pass both as bytes|Pass uint8, which is scaled"):
            classifier.partial_fit(wrong, y)
    with pytest.raises(ValueError, match=r"`X` is uint8 and the support set is float32"):
        FewShotClassifier.load(run).fit(X / np.float32(32), y).predict(X)
    parts = FewShotClassifier.load(run, num_steps=1).fit(X[:3], y[:3]).partial_fit(X[3:] / np.float32(255), y[3:])
    np.testing.assert_allclose(parts.predict_proba(X), p, atol=1e-5)


def test_a_growing_support_set_compiles_once_for_each_power_of_two():
    X, y = blobs((9, 9, 9))
    order = np.random.default_rng(1).permutation(27)
    learner = jm.protonet(jm.identity())
    classifier = FewShotClassifier(learner).partial_fit(X[order[:3]], y[order[:3]], classes=["ant", "bee", "cow"])
    for i in order[3:]:
        classifier.partial_fit(X[i : i + 1], y[i : i + 1])
    assert compiled(learner)._adapt._cache_size() <= 2 + 4  # sizes 3 and 4 as they are, then 4, 8, 16 and 32
    alone = FewShotClassifier(jm.protonet(jm.identity())).fit(X[order], y[order])
    np.testing.assert_allclose(classifier.predict_proba(X), alone.predict_proba(X), atol=1e-5)


def test_padding_is_not_drawn():
    """A learner that draws mini-batches would see padding: it gets its sets as they are, of whatever size."""
    X, y = blobs()
    net = jm.from_linen(jm.backbones.MLP((16,), num_outputs=3))
    make = lambda: jm.reptile(net, jm.losses.cross_entropy, num_steps=9, batch_size=3, inner_optimizer=optax.sgd(0.1))
    learner, pick = make(), [0, 5, 6, 11, 12]
    FewShotClassifier(learner).fit(X[pick], y[pick])
    again = FewShotClassifier(learner).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(again, FewShotClassifier(make()).fit(X, y).predict_proba(X), atol=1e-5)


def test_token_ids_stay_integers(tmp_path):
    """Ids of a learner of one's own, whether bytes or not, reach it as they are; 8-bit images are scaled."""
    table = jnp.asarray(np.random.default_rng(0).normal(size=(256, 8)), jnp.float32)

    def embed(variables, x):
        assert jnp.issubdtype(x.dtype, jnp.integer) and x.ndim == 2, x
        return table[x].mean(1)

    learner = jm.protonet(jm.from_functions(lambda key, x: jm.Variables({}), embed))
    X, y = np.array([[200, 201], [203, 204], [3, 4], [5, 6]]), [0, 0, 1, 1]
    expected = FewShotClassifier().fit(table[X].mean(1), y).predict_proba(table[X].mean(1))
    for dtype in (np.int64, np.uint8, np.int16, np.float64):
        found = FewShotClassifier(learner).fit(X, y).predict_proba(X.astype(dtype))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    found = FewShotClassifier(learner).fit(X.astype(np.uint8), y).partial_fit(X.astype(np.uint8), y)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-5)
    with pytest.raises(ValueError, match="`X` has values beyond 2.15e.09, which int32 cannot hold"):
        FewShotClassifier(learner).fit(X + 2**40, y)
    whole, pixels = inputs_for(X, None, numbers=True), inputs_for(images()[0], None, numbers=False)
    assert whole(X).dtype == np.float32 and pixels.scales  # numbers of a table are no ids
    trained = inputs_for(X, np.zeros((1, 2), np.int32), numbers=False)
    with pytest.raises(ValueError, match=r"`X` is float64 with fractions, but this learner takes whole numbers"):
        trained(X + 0.5)


def test_columns_in_another_order_are_refused():
    pandas = pytest.importorskip("pandas")
    X, y = blobs()
    frame = pandas.DataFrame(X, columns=list("abcde"))
    for estimator, targets in ((FewShotClassifier(), y), (FewShotRegressor(), X[:, 0])):
        estimator.fit(frame, targets)
        assert estimator.feature_names_in_.tolist() == list("abcde")
        np.testing.assert_array_equal(estimator.predict(frame), estimator.predict(frame[list("abcde")]))
        with pytest.raises(ValueError, match="same order"):
            estimator.predict(frame[list("edcba")])
        with pytest.raises(ValueError, match="same order"):
            estimator.partial_fit(frame[list("edcba")], targets)


def test_the_default_regressor_is_ridge_without_a_penalty_on_the_bias():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(30, 4)) + 3, rng.normal(size=4)
    y = X @ w + 0.3 * rng.normal(size=30)
    for shift in (0, 100):
        ridge = Ridge(alpha=0.01 * 20).fit(X[:20], y[:20] + shift)  # its sum of squares is our mean of them
        few = FewShotRegressor().fit(X[:20], y[:20] + shift)
        np.testing.assert_allclose(few.predict(X), ridge.predict(X), atol=1e-3)
        assert few.score(X[20:], y[20:] + shift) > 0.9


@pytest.mark.parametrize("kind", [FewShotClassifier, FewShotRegressor])
def test_pickling_a_learner_names_save(kind):
    X, y = blobs()
    targets = y if kind is FewShotClassifier else X[:, 0]
    own = kind(jm.protonet(jm.identity()) if kind is FewShotClassifier else jm.r2d2(jm.identity(), jm.losses.mse))
    own.fit(X, targets)
    with pytest.raises(pickle.PicklingError, match=r"`estimator.save\(path\)` keeps it, and `FewShot"):
        pickle.dumps(own)
    assert (copy.deepcopy(own).predict(X) == own.predict(X)).all()
    cloudpickle = pytest.importorskip("cloudpickle")
    assert (cloudpickle.loads(cloudpickle.dumps(own)).predict(X) == own.predict(X)).all()
    assert (pickle.loads(pickle.dumps(kind().fit(X, targets))).predict(X) == kind().fit(X, targets).predict(X)).all()


def test_what_is_kept_is_a_copy():
    """A buffer that the caller fills anew must not change what came before."""
    X, y = blobs()
    buffer, labels = X[:8].astype(np.float32), np.arange(8, dtype=np.float32)
    classifier, regressor = FewShotClassifier().fit(buffer, y[:8]), FewShotRegressor().fit(buffer, labels)
    buffer[:], labels[:] = 0, 0
    np.testing.assert_array_equal(classifier.X_, X[:8].astype(np.float32))
    np.testing.assert_array_equal(regressor.X_, X[:8].astype(np.float32))
    np.testing.assert_array_equal(regressor.y_, np.arange(8))


def test_a_failed_partial_fit_changes_nothing():
    X, y = blobs()
    net = jm.from_linen(jm.backbones.MLP((16,), num_outputs=3))
    fixed = FewShotClassifier(jm.maml(net, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.3), num_steps=20))
    said = fixed.fit(X, y).predict(X).tolist()
    with pytest.raises(ValueError, match="`y` has 4 classes"):
        fixed.partial_fit(X[:1], ["aardvark"])  # which sorts before all others
    assert fixed.predict(X).tolist() == said and fixed.classes_.tolist() == ["ant", "bee", "cow"]


def test_strings_and_numbers_are_no_labels_of_one_set():
    X, y = blobs()
    with pytest.raises(ValueError, match="Labels must be all strings or all numbers"):
        FewShotClassifier().fit(X, np.arange(15) % 3).partial_fit(X, y)
    with pytest.raises(ValueError, match="Labels must be all strings or all numbers"):
        FewShotClassifier().partial_fit(X, y, classes=[0, 1])


def test_what_float32_cannot_hold_gets_no_answer():
    X, y = blobs()
    with pytest.raises(ValueError, match="`X` has values beyond"):
        FewShotClassifier().fit(X * 1e39, y)
    with pytest.raises(ValueError, match="`y` has values beyond"):
        FewShotRegressor().fit(X, X[:, 0] * 1e39)
    with pytest.raises(ValueError, match="not finite for 15 of 15 examples"):
        FewShotClassifier().fit(X * 1e30, y).predict(X * 1e30)
    net = jm.from_linen(jm.backbones.MLP((16,), num_outputs=1))
    wild = jm.maml(net, jm.losses.mse, inner_optimizer=optax.sgd(1e20), num_steps=5)
    with pytest.raises(ValueError, match="adaptation diverged"):
        FewShotRegressor(wild).fit(X, X[:, 0]).predict(X)


def test_fitting_again_traces_nothing():
    traced = []
    net = jm.from_linen(jm.backbones.MLP((16,), num_outputs=3))
    learner = jm.maml(net, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.3), num_steps=2)

    def adapt(meta, support, key=None):
        traced.append(support.x.shape)
        return learner.adapt(meta, support, key)

    classifier = FewShotClassifier(learner._replace(adapt=adapt))
    X, y = blobs()
    classifier.fit(X, y).predict(X)
    before = len(traced)
    clone(classifier).fit(X + 1, y).predict(X)
    assert len(traced) == before


@pytest.mark.parametrize(
    "arrays, text",
    [
        ({"X": np.full((3, 2), np.nan)}, "contains NaN"),
        ({"X": np.zeros((3, 2), complex)}, "Complex"),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0, int)}, "0 sample"),
        ({"y": np.zeros(2, int)}, "inconsistent numbers"),
        ({"y": np.zeros((3, 2), int)}, "1d array"),
        ({"y": np.array([0, 1, 2])}, "damaged or not a support set"),
        ({"classes": np.array([["b", "a"], ["a", "b"]])}, "1d array"),
    ],
)
def test_a_damaged_support_set(tmp_path, arrays, text):
    good = {"X": np.eye(3, 2), "y": np.array([0, 1, 1]), "classes": np.array(["b", "a"])}
    FewShotClassifier(MLP).fit(good["X"], good["classes"][good["y"]]).save(tmp_path / "own")
    np.savez(tmp_path / "own" / "support.npz", **good)
    again = FewShotClassifier.load(tmp_path / "own", learner=MLP)  # in whatever order the classes are
    assert again.predict(good["X"]).tolist() == ["b", "a", "a"] and again.n_features_in_ == 2
    np.savez(tmp_path / "own" / "support.npz", **good | arrays)
    with pytest.raises(ValueError, match=text):
        FewShotClassifier.load(tmp_path / "own", learner=MLP)


def test_a_support_set_too_large_is_neither_read_nor_written(tmp_path, monkeypatch):
    X, y = blobs()
    classifier = FewShotClassifier(MLP).fit(X, y)
    classifier.save(tmp_path / "own")
    monkeypatch.setattr("jaxmeta.estimator._files.MAX_SUPPORT", 100)
    with pytest.raises(ValueError, match="more than the 100 that a folder may hold"):
        FewShotClassifier.load(tmp_path / "own", learner=MLP)
    with pytest.raises(ValueError, match="more than the 100"):
        classifier.save(tmp_path / "more")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("part", [None, {"x": None}, {"y": None}, {"x": {"shape": [1] * 40, "dtype": "float32"}}])
def test_a_strangers_task(tmp_path, part):
    folder = start_of_run(tmp_path / "run", "sinusoid_maml")
    about = json.loads((folder / "config.json").read_text())
    about["task"]["support"] = part and about["task"]["support"] | part
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"`task` does not describe|do not fit its learner|no single array of targets"):
        FewShotRegressor.load(folder)


def test_a_strangers_folder_does_not_choose_what_is_opened(tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    for name in ("train/a", "train/b", "test/c", "test/d"):
        (photos / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (16, 16)).save(photos / name / f"{i}.png")
    small = {"size": 16, "features": 2, "num_ways": 2, "num_shots": 1, "num_queries": 1, "num_test_queries": 1}
    folder = start_of_run(tmp_path / "run", "photographs", data_dir=str(photos), **small)
    assert FewShotClassifier.load(folder).input_shape == (16, 16, 3)  # its configuration says what tasks look like
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"task": None}))
    with monkeypatch.context() as patch:
        patch.setattr("jaxmeta.datasets._folder.open_tree", lambda *args: pytest.fail("opened"))
        with pytest.raises(
            ValueError, match="`data_dir` is None, and .*photos.* is not opened unasked: pass `data_dir`"
        ):
            FewShotClassifier.load(folder)
    assert FewShotClassifier.load(folder, data_dir=str(photos)).input_shape == (16, 16, 3)
    del about["task"], about["arguments"]["data_dir"]  # nor does one that leaves the place to us
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="pass `data_dir`"):
        FewShotClassifier.load(folder)
    assert FewShotClassifier.load(folder, data_dir=str(photos)).input_shape == (16, 16, 3)


def test_a_recipe_without_data_needs_no_task(tmp_path):
    folder = start_of_run(tmp_path / "run", "sinusoid_maml")
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"task": None}))
    assert FewShotRegressor.load(folder).input_shape == (1,)
