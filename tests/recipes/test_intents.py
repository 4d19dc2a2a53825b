"""`intents`: published splits and one's own file; every algorithm and encoder has a learner that its tasks fit."""

from pathlib import Path

import jax
import pytest

import jaxmeta as jm
from jaxmeta.recipes import intents

pytest.importorskip("tokenizers")
CLINC = Path(__file__).parents[3] / "shared" / "data" / "clinc150"
SMALL = {"num_ways": 3, "num_shots": 2, "num_queries": 2, "num_test_queries": 2, "features": 8, "length": 12}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Nine intents of five sentences, each with a word of its own."""
    path = tmp_path_factory.mktemp("own") / "own.csv"
    rows = [f"please do thing{c} for me {i},intent{c}" for c in range(9) for i in range(5)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    "algorithm, encoder",
    [("protonet", "gru"), ("maml", "bag"), ("anil", "transformer"), ("rfs", "bag"), ("r2d2", "transformer")],
)
def test_every_kind_of_algorithm_fits_its_tasks(own, algorithm, encoder):
    e, key = intents(dataset="file", data_dir=own, algorithm=algorithm, encoder=encoder, **SMALL), jax.random.key(0)
    task, test = jax.eval_shape(e.train, key), jax.eval_shape(e.test, key)
    meta = jax.eval_shape(e.learner.init, key, task)
    loss, _ = jax.eval_shape(e.learner.loss, meta, task, key)
    outputs = jax.eval_shape(lambda m, t: e.learner.predict(m, e.learner.adapt(m, t.support), t.query.x), meta, test)
    assert loss.shape == () and outputs.shape == (6, 3) and test.query.x["ids"].shape == (6, 12)


def test_own_sentences_are_trained_and_measured_in_a_run(own, tmp_path):
    e = intents(dataset="file", data_dir=own, encoder="bag", num_steps=3, tasks_per_step=2, test_tasks=4, **SMALL)
    e.prepare()
    assert not set(e.train.names) & set(e.test.names) and len(e.test.names) == 3
    result = jm.runs.train(e, tmp_path / "run")
    assert result.status == "finished" and result.step == 3
    assert jm.runs.load(tmp_path / "run").task.support.x["ids"].shape == (6, 12)


def test_what_does_not_fit_is_named(own, tmp_path):
    with pytest.raises(ValueError, match="`data_dir` is None, and the sentences are your own"):
        intents(dataset="file").prepare()
    with pytest.raises(ValueError, match="to test on, 6 are left to train on, but a task of training has 7"):
        intents(dataset="file", data_dir=own, num_train_ways=7, **SMALL).prepare()
    with pytest.raises(ValueError, match="`num_train_ways` is 7, but this algorithm's head"):
        intents(algorithm="maml", num_train_ways=7)
    (tmp_path / "bare.csv").write_text("pay my bill,pay\nwhat time is it,time\n")
    with pytest.raises(ValueError, match="has no column text"):
        intents(dataset="file", data_dir=str(tmp_path / "bare.csv")).prepare()


@pytest.mark.skipif(not CLINC.is_dir(), reason=f"needs CLINC150 in {CLINC}")
def test_published_splits():
    e = intents(data_dir=str(CLINC), fold=2)
    assert (len(e.train.names), len(e.test.names), e.train.x["ids"].shape) == (50, 50, (7_500, 40))
    assert not set(e.train.names) & set(e.test.names)
