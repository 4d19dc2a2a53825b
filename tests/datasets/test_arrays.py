"""`from_arrays`: sorting, names, and what bad arrays get."""

import jax
import numpy as np
import pytest

from jaxmeta import datasets


def test_sorted_stably_by_class():
    y = np.array([2, 0, 2, 1, 0, 2])
    data = datasets.from_arrays({"a": np.arange(6), "b": np.arange(12).reshape(6, 2)}, y)
    assert data.x["a"].tolist() == [1, 4, 3, 0, 2, 5]
    np.testing.assert_array_equal(data.x["b"][:, 0], 2 * data.x["a"])
    assert (data.start.tolist(), data.count.tolist(), data.names) == ([0, 2, 3], [2, 1, 3], ("0", "1", "2"))
    assert data.start.dtype == data.count.dtype == np.int32


def test_classes_may_have_gaps_and_keep_their_names():
    data = datasets.from_arrays(np.zeros((3, 2), np.uint8), [5, 1, 5], names=list("abcdef"))
    assert data.names == ("b", "f") and data.count.tolist() == [1, 2]


@pytest.mark.parametrize("y", [["b", "a"], np.array([b"b", b"a"]), np.array(["b", "a"], object)])
def test_string_labels(y):
    data = datasets.from_arrays(np.array([1, 2]), y)
    assert data.names == ("a", "b") and data.x.tolist() == [2, 1]


def test_dtypes_stay_and_inputs_are_not_shared():
    x = {"u": np.zeros(2, np.uint8), "f": jax.numpy.zeros((2, 1), "bfloat16"), "b": np.ones(2, bool)}
    data = datasets.from_arrays(x, [0, 1])
    assert [leaf.dtype.name for leaf in jax.tree.leaves(data.x)] == ["bool", "bfloat16", "uint8"]
    assert not np.shares_memory(data.x["u"], x["u"])


BAD = {
    "lengths": (np.zeros((3, 2)), [0, 1], {}, r"`x` has shape \(3, 2\), but `y` has 2 labels"),
    "scalar": ({"a": np.float32(1)}, [0, 1], {}, r"`x\['a'\]` has shape \(\)"),
    "empty": (np.zeros((0, 2)), np.zeros(0, int), {}, "`y` is empty"),
    "no arrays": ({}, [0, 1], {}, "`x` holds no array"),
    "nan": (
        {"a": np.array([0.0, np.nan, 1.0])},
        [0, 1, 1],
        {},
        r"`x\['a'\]` has NaN.* 1 of 3 examples, first in row 1",
    ),
    "infinite": (np.array([[0.0], [np.inf]]), [0, 1], {}, "NaN or infinite values in 1 of 2"),
    "one-hot": (np.zeros(2), np.eye(2, dtype=int), {}, r"`y` must have shape \[M\].*\(2, 2\)"),
    "negative": (np.zeros(3), [0, -1, 1], {}, r"`y\[1\]` is -1, but labels must be >= 0"),
    "measured": (np.zeros(2), [0.5, 1.0], {}, "`y` must hold integers or strings, got dtype float64"),
    "ragged": (np.array([[1], [1, 2]], object), [0, 1], {}, "`x` has dtype object"),
    "few names": (
        np.zeros(2),
        [0, 2],
        {"names": ["a", "b"]},
        "`names` has 2 entries, but `y` holds the label 2",
    ),
    "names twice": (np.zeros(2), ["a", "b"], {"names": ["a", "b"]}, "`names` goes with integer labels only"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    x, y, options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        datasets.from_arrays(x, y, **options)


def test_a_list_is_examples_and_not_a_tree():
    images = [np.full((2, 3), i, np.uint8) for i in range(4)]
    data = datasets.from_arrays(images, [1, 0, 1, 0])
    assert data.x.shape == (4, 2, 3) and data.x[:, 0, 0].tolist() == [1, 3, 0, 2]
    with pytest.raises(ValueError, match=r"`x` is a list of 4 entries of shape \(2, 3\), \(3, 2\).* one shape"):
        datasets.from_arrays([*images[:3], images[3].T], [1, 0, 1, 0])
    with pytest.raises(ValueError, match="`x` is a list of 2 entries .* and `y` has 4 labels"):
        datasets.from_arrays([np.zeros((4, 2)), np.zeros((4, 3))], [1, 0, 1, 0])
    assert len(datasets.from_arrays((np.zeros((4, 2)), np.zeros((4, 3))), [1, 0, 1, 0]).x) == 2
