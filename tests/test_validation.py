"""Malformed tasks and class sets are refused in words, and well-formed ones are not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, ClassSet, Task
from jaxmeta.experiment import Experiment, by_split, nearest_neighbour
from jaxmeta.validation import check_disjoint, check_integers, check_task

X, WAYS = jnp.ones((6, 4)), jnp.ones(3, bool)
Y = jnp.array([0, 1, 2, 0, 1, 2])
NAN = X.at[1].set(jnp.nan)


def task(y, *, x=X, ways=WAYS, weight=None):
    return Task(Batch(x, y, weight, ways), Batch(X, Y, ways=WAYS))


@pytest.mark.parametrize(
    "bad, text",
    [
        (task(Y + 1), "labels from 1 to 3, but `ways` has length 3"),
        (Task(*[Batch(X, Y - 1, None, jnp.ones(3, bool))] * 2), "`task.support.y` has labels from -1 to 1"),
        (task(Y[:5]), "6 inputs but 5 targets"),
        (task(Y > 0), "`task.support.y` is bool"),
        (task(Y.astype(jnp.float32)), "`task.support.y` is float32"),
        (task(jax.nn.one_hot(Y, 3)), r"one-hot \(6, 3\).*argmax"),
        (task(Y[:, None]), r"a column \(6, 1\)"),
        (task(Y, ways=jnp.ones((2, 3), bool)), "`task.support.ways` must be bool"),
        (task(Y, x=NAN), "NaN or infinite"),
        (task(np.full(6, 2**40), ways=None), "would wrap round"),
        (task(Y, x=np.full((6, 2), 2**40)), r"`task.support.x` holds integers.*would wrap round"),
        (Task(Batch(X, Y), Batch(X[:0], Y[:0])), "`task.query` has no examples"),
        (Task(Batch(X, ()), Batch(X, Y)), "6 inputs but no targets"),
    ],
)
def test_bad_tasks(bad, text):
    with pytest.raises(ValueError, match=text):
        check_task(bad)


def test_a_task_is_no_tuple():
    with pytest.raises(TypeError, match="must be a `jaxmeta.Task`, got tuple"):
        check_task((Batch(X, Y), Batch(X, Y)))


def test_the_number_of_outputs_stands_in_for_ways():
    check_task(task(Y, ways=WAYS), num_ways=3)
    plain = Task(Batch(X, Y + 1), Batch(X, Y))
    check_task(plain)
    with pytest.raises(ValueError, match="labels from 1 to 3, but there are 3 outputs"):
        check_task(plain, num_ways=3)


@pytest.mark.parametrize(
    "good",
    [
        task(Y.at[1].set(-100), x=NAN, weight=jnp.ones(6).at[1].set(0)),  # hidden
        task(jnp.zeros((6, 3), int), x=jnp.ones((6, 3, 2))),  # by token, as many as ways
        task(jnp.zeros((6, 3), int), x=jnp.ones((6, 3), int)),
        task(jnp.ones((6, 1)), ways=None),
        task({"a": Y, "b": X}),
        Task(Batch(X[:0], Y[:0]), Batch(X, Y)),  # nothing to adapt to: the learner decides
        Task({"arms": jnp.ones(2)}, None),
    ],
)
def test_good_tasks(good):
    check_task(good)
    jax.eval_shape(lambda task: check_task(task), good)


def test_integers_that_fit():
    check_integers("y", {"a": np.array([2**31 - 1, -(2**31)]), "b": np.array([255], np.uint8), "c": np.array([])})


DATA = ClassSet(np.arange(10.0)[:, None], np.array([0, 1, 3, 6]), np.array([1, 2, 3, 4]), ("A", "b", "c", "d"))


def test_classes_of_training_and_test():
    check_disjoint(DATA.select(["A", "c"]), DATA.select(["b"]))
    with pytest.raises(ValueError, match=r"1 of the 2 classes .* 'a'.*or pass --mine"):
        check_disjoint(DATA, ClassSet(DATA.x, np.array([0, 1]), np.array([1, 1]), ("a", "e")), allow="pass --mine")


def test_classes_of_an_experiment_are_compared_before_training():
    """Behind mini-batches, wrappers and episodes; labels that are only numbers are no names."""
    images = DATA._replace(x=np.zeros((10, 4, 4, 1), np.uint8))
    train = jm.tasks.augmented(jm.tasks.batches(images.select(["A", "b"]), batch_size=2))

    def prepare(*names, allow=False):
        test = jm.tasks.episodes(images.select(names), num_ways=1, num_shots=1, num_queries=1)
        tasks = by_split(train=lambda: train, test=lambda: test)
        return Experiment(nearest_neighbour(), optax.sgd(0.1), tasks, 1, 1, "", allow_shared_classes=allow).prepare()

    with pytest.raises(ValueError, match=r"1 of the 2 classes of 'test' are trained on: 'b'.*`allow_shared_classes"):
        prepare("c", "b")
    assert prepare("c", "b", allow=True).query.y.shape == prepare("c", "d").query.y.shape == (2,)
    labels = DATA._replace(names=("1", "2", "3", "4"))
    check_disjoint(labels, labels)


def test_classes_are_selected_in_order_with_their_examples():
    chosen = DATA.select(["d", "b"])
    assert chosen.names == ("d", "b") and chosen.start.tolist() == [6, 1] and chosen.count.tolist() == [4, 2]
    assert chosen.x is DATA.x
    assert DATA.drop_small(3).names == ("c", "d")


@pytest.mark.parametrize(
    "fractions, sizes", [([0.5, 0.5], [2, 2]), ([0.5], [2]), ([0.98, 0.01, 0.01], [2, 1, 1]), ([0.01, 0.99], [1, 3])]
)
def test_classes_are_split_without_overlap(fractions, sizes):
    parts = DATA.split(fractions, jax.random.key(3))
    names = [name for part in parts for name in part.names]
    assert [len(part.names) for part in parts] == sizes and len(set(names)) == len(names)
    for part in parts:
        assert [DATA.count[DATA.names.index(name)] for name in part.names] == part.count.tolist()


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: DATA.select(["e"]), r"`names` has \['e'\], which are no classes"),
        (lambda: DATA.select(["b", "b"]), "more than once"),
        (lambda: DATA.split([0.7, 0.7], jax.random.key(0)), "sum 1 or less"),
        (lambda: DATA.split([], jax.random.key(0)), "positive numbers"),
        (lambda: DATA.split([float("nan")], jax.random.key(0)), "positive numbers"),
        (lambda: DATA.split([0.2] * 5, jax.random.key(0)), "names 5 sets, but there are 4 classes"),
        (lambda: DATA.drop_small(5), "the largest class has 4 examples"),
        (lambda: DATA.drop_small(0), "`num_examples` must be at least 1"),
        (lambda: jm.tasks.batches(DATA._replace(x=np.full((10, 2), 2**40)), batch_size=2), "`data.x` holds integers"),
    ],
)  # fmt: skip
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()
