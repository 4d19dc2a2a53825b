"""The scikit-learn face: its contract, what is saved and loaded, and the exported program."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from nets import start_of_run
from sklearn.base import clone
from sklearn.metrics import classification_report
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import jaxmeta as jm
from jaxmeta import FewShotClassifier, FewShotRegressor

MLP = jm.protonet(jm.from_linen(jm.backbones.MLP((16,), num_outputs=8)))
RIDGE = jm.r2d2(jm.from_linen(jm.backbones.MLP((64,), num_outputs=None)), jm.losses.mse, init_lambda=0.1)
CLOSURE = "a learner is made of closures, which pickle cannot take; `save` and `load` keep it, cloudpickle ships it"
WAIVED = {
    "check_estimators_pickle": CLOSURE,
    "check_estimators_overwrite_params": CLOSURE + ": the check compares pickles",
    "check_methods_subset_invariance": "float32 products of another size round otherwise, beyond the 1e-7 asked for",
}


@pytest.mark.heavy
@pytest.mark.parametrize("kind, learner", [(FewShotClassifier, MLP), (FewShotRegressor, RIDGE)])
@pytest.mark.parametrize("own", [False, True], ids=["the default learner", "a network"])
def test_the_contract_of_scikit_learn(kind, learner, own):
    estimator, waived = (kind(learner), WAIVED) if own else (kind(), {})
    found = check_estimator(estimator, expected_failed_checks=waived, on_fail="raise", on_skip=None)
    assert len(found) > 40


def blobs(seed=0, shots=(4, 6, 5), size=5):
    """Three clouds of points, of unequal size."""
    rng = np.random.default_rng(seed)
    y = np.repeat(["ant", "bee", "cow"], shots)
    return rng.normal(size=(len(y), size)) + 4 * np.eye(size)[np.repeat([0, 1, 2], shots)], y


def test_it_is_the_learner_behind_it():
    """With unequal shots the means are those by hand; padded queries change nothing."""
    X, y = blobs()
    probabilities = FewShotClassifier().fit(X, y).predict_proba(X)
    means = np.stack([X[y == name].mean(0) for name in ("ant", "bee", "cow")])
    logits = -((X[:, None] - means) ** 2).sum(-1)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(1, keepdims=True), atol=1e-5)


def test_tools_of_scikit_learn(capsys):
    X, y = blobs(shots=(20, 20, 20))
    pipeline = make_pipeline(StandardScaler(), FewShotClassifier())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    assert "bee" in classification_report(y, pipeline.fit(X, y).predict(X))


def test_labels_that_are_objects_are_saved_without_pickle(tmp_path):
    X, y = blobs()
    FewShotClassifier(MLP).fit(X, y.astype(object)).save(tmp_path / "own")
    assert FewShotClassifier.load(tmp_path / "own", learner=MLP).classes_.tolist() == ["ant", "bee", "cow"]


def test_partial_fit_adds_examples_and_classes():
    X, y = blobs()
    whole = FewShotClassifier(MLP).fit(X, y)
    parts = FewShotClassifier(MLP).partial_fit(X[:4], y[:4], classes=["ant", "bee", "cow"])
    assert parts.predict_proba(X)[:, 1:].max() == 0.0  # of these nothing has been seen
    parts.partial_fit(X[4:], y[4:])
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), atol=1e-6)
    assert parts.partial_fit([[9.0] * 5], ["dog"]).classes_.tolist() == ["ant", "bee", "cow", "dog"]


def test_predicting_in_batches_changes_nothing():
    X, y = blobs()
    whole, batches = (FewShotClassifier(MLP, batch_size=size).fit(X, y).predict_proba(X) for size in (None, 4))
    np.testing.assert_allclose(whole, batches, atol=1e-6)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        FewShotClassifier(MLP, batch_size=0).fit(X, y)


def test_a_prediction_does_not_depend_on_the_other_queries():
    """BatchNorm of its own batch becomes that of the support set, and nothing compiles twice for that."""
    X, y = blobs()
    model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=3, norm=True))
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=1)
    classifier = FewShotClassifier(learner).fit(X, y)
    together = classifier.predict_proba(X)
    alone = np.concatenate([classifier.predict_proba(x[None]) for x in X])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    among_others = classifier.predict_proba(np.concatenate([X, 50 * X]))
    np.testing.assert_allclose(among_others[: len(X)], together, atol=1e-5)
    assert clone(classifier)._pure() is classifier._pure()


def test_fewer_classes_than_the_head_has_outputs():
    X, y = blobs()
    net = jm.from_linen(jm.backbones.MLP((16,), num_outputs=4))
    fixed = FewShotClassifier(jm.maml(net, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.3), num_steps=20))
    assert fixed.fit(X, y).predict_proba(X).shape == (15, 3) and fixed.score(X, y) > 0.9
    with pytest.raises(ValueError, match="`y` has 5 classes, but this learner's head has 4 outputs"):
        fixed.fit(X, np.arange(15) % 5)


def test_a_learner_that_draws_mini_batches_sees_real_examples():
    X, y = blobs()
    net = jm.from_linen(jm.backbones.MLP((16,), num_outputs=3))
    reptile = jm.reptile(net, jm.losses.cross_entropy, num_steps=4, batch_size=3, inner_optimizer=optax.sgd(0.1))
    classifier = FewShotClassifier(reptile).fit(X, y)
    labels = np.searchsorted(classifier.classes_, y)
    support = jm.Batch(jnp.asarray(X, jnp.float32), jnp.asarray(labels), ways=jnp.ones(3, bool))
    meta = reptile.init(jax.random.key(0), jm.Task(support, support))
    expected = jax.nn.softmax(reptile.predict(meta, reptile.adapt(meta, support), support.x))
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=1e-5)


def test_regression_of_a_neural_process_has_deviations():
    X = np.linspace(-3, 3, 10)[:, None]
    regressor = FewShotRegressor(jm.neural_process(jm.identity())).fit(X, np.sin(X[:, 0]))
    mean, std = regressor.predict(X, return_std=True)
    assert mean.shape == std.shape == (10,) and (std > 0).all()
    with pytest.raises(ValueError, match="predicts no deviations"):
        FewShotRegressor().fit(X, X[:, 0]).predict(X, return_std=True)


def test_several_outputs_and_further_points():
    X = np.random.default_rng(0).normal(size=(40, 3))
    Y = X @ np.random.default_rng(1).normal(size=(3, 2))
    regressor = FewShotRegressor().fit(X[:5], Y[:5])
    assert regressor.predict(X).shape == (40, 2)
    assert regressor.partial_fit(X[5:], Y[5:]).score(X, Y) > 0.99


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What `jaxmeta train glyphs_maml` leaves that matters here."""
    return start_of_run(tmp_path_factory.mktemp("run"), "glyphs_maml", num_ways=3, features=8)


def images(shots=(2, 3, 2)):
    X = np.random.default_rng(0).integers(0, 256, (sum(shots), 28, 28, 1), np.uint8)
    return X, np.repeat(["a", "b", "c"], shots)


def test_a_run_folder_and_back(run, tmp_path):
    X, y = images()
    classifier = FewShotClassifier.load(run, num_steps=2).fit(X, y)
    classifier.save(tmp_path / "saved")
    again = FewShotClassifier.load(tmp_path / "saved")  # support set, inner steps and all
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    other = FewShotClassifier.load(tmp_path / "saved", num_steps=1)
    assert np.abs(other.predict_proba(X) - classifier.predict_proba(X)).max() > 1e-3
    assert again.classes_.tolist() == ["a", "b", "c"] and again.input_shape == (28, 28, 1)
    assert clone(classifier).fit(X, y).predict(X).tolist() == classifier.predict(X).tolist()
    with pytest.raises(ValueError, match="exists, and nothing is overwritten"):
        classifier.save(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"examples of shape \(14, 14, 1\), but this learner takes \(28, 28, 1\)"):
        classifier.fit(X[:, ::2, ::2], y)
    with pytest.raises(ValueError, match=r'from_folder\(path, size=28, color="gray"\).x` are images as it takes'):
        classifier.predict(X[:, ::2, ::2])
    with pytest.raises(ValueError, match="was trained to predict labels. Load it with `jaxmeta.FewShotClassifier`"):
        FewShotRegressor.load(run)


def test_pixels_are_bytes_or_from_0_to_1(run):
    X, y = images()
    classifier = FewShotClassifier.load(run, num_steps=2).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X / 255), classifier.predict_proba(X), atol=1e-5)
    for wrong in (X.astype(np.float32), X.astype(int)):
        with pytest.raises(ValueError, match="pixels of up to 25[0-9], but this learner takes them from 0 to 1. Pass"):
            FewShotClassifier.load(run).fit(wrong, y)
    with pytest.raises(ValueError, match=r"One example is `X\[None\]`"):
        classifier.predict(X[0])
    assert "Trained(recipe='glyphs_maml', seed=0)" in repr(classifier) and len(repr(classifier)) < 200


def test_a_learner_of_ones_own(tmp_path):
    X, y = blobs()
    FewShotClassifier(MLP).fit(X, y).save(tmp_path / "own")
    with pytest.raises(ValueError, match="a learner of your own: pass it as `learner`"):
        FewShotClassifier.load(tmp_path / "own")
    assert FewShotClassifier.load(tmp_path / "own", learner=MLP).score(X, y) == 1.0
    with pytest.raises(ValueError, match="a `learner` of your own has its steps"):
        FewShotClassifier.load(tmp_path / "own", learner=MLP, num_steps=3)
    other = jm.protonet(jm.from_linen(jm.backbones.MLP((7,), num_outputs=8)))
    with pytest.raises(ValueError, match=r"params/dense0/kernel: float32\[5, 16\] instead of float32\[5, 7\]"):
        FewShotClassifier.load(tmp_path / "own", learner=other)


def test_a_learner_without_parameters(tmp_path):
    X, y = blobs()
    FewShotClassifier().fit(X, y).save(tmp_path / "own")
    again = FewShotClassifier.load(tmp_path / "own", learner=jm.protonet(jm.identity()))
    assert again.predict(X).tolist() == FewShotClassifier().fit(X, y).predict(X).tolist()


def test_a_support_set_from_a_stranger_is_data(tmp_path):
    X, y = blobs()
    FewShotClassifier(MLP).fit(X, y).save(tmp_path / "own")
    np.savez(tmp_path / "own" / "support.npz", X=np.array([{}], object), y=np.zeros(1), classes=np.zeros(1))
    with pytest.raises(ValueError, match=r"support.npz' is damaged or not a support set"):
        FewShotClassifier.load(tmp_path / "own", learner=MLP)


def test_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="nothing to save yet"):
        FewShotClassifier().save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_the_exported_program_needs_only_jax(run, tmp_path):
    X, y = images()
    classifier = FewShotClassifier.load(run, num_steps=1).fit(X, y)
    classifier.export(tmp_path / "classifier.jax")
    np.save(tmp_path / "x.npy", X[:5])
    np.save(tmp_path / "x3.npy", X[:3])
    code = """if True:
        import sys, numpy, jax, jax.export
        f = jax.export.deserialize(bytearray(open("classifier.jax", "rb").read()))
        numpy.save("p.npy", f.call(numpy.load("x.npy"))), numpy.save("p3.npy", f.call(numpy.load("x3.npy")))
        assert not {"jaxmeta", "flax", "optax", "sklearn"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    for x, p in (("x.npy", "p.npy"), ("x3.npy", "p3.npy")):
        expected = classifier.predict_proba(np.load(tmp_path / x))
        np.testing.assert_allclose(np.load(tmp_path / p), expected, atol=1e-5)


def test_an_exported_regressor(tmp_path):
    import jax.export

    X = np.linspace(-1, 1, 9)[:, None]
    regressor = FewShotRegressor(RIDGE).fit(X, X[:, 0] ** 2)
    regressor.export(tmp_path / "f.jax")
    f = jax.export.deserialize(bytearray((tmp_path / "f.jax").read_bytes()))
    np.testing.assert_allclose(f.call(jnp.asarray(X, jnp.float32)), regressor.predict(X), atol=1e-5)
