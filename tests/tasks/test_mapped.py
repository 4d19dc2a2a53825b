"""Rows of mapped files: the right ones, of any view, and nothing of the file stays in the process."""

from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta.tasks._mapped import take

ROWS = np.array([[3, 399], [0, 200]])
SMAPS = Path("/proc/self/smaps")


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, [400, 5000], np.uint8))
    return tmp_path / "x.npy"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[-400:], lambda x: x[::-1], lambda x: x[:, 7:], np.asarray])
def test_rows_of_any_view(path, mode, view):
    x = view(np.load(path, mmap_mode=mode))
    found = take(x, ROWS)
    np.testing.assert_array_equal(found, view(np.load(path))[ROWS])
    assert found.flags.owndata or found.base.flags.owndata


def test_of_a_part_of_the_file(path):
    part = np.load(path, mmap_mode="r")[100:300]
    np.testing.assert_array_equal(take(part, np.array([0, 199])), np.load(path)[[100, 299]])


def test_what_was_written_is_kept(path):
    for mode in ("r+", "c"):
        x = np.load(path, mmap_mode=mode)
        x[3] = 7
        take(x, ROWS)
        assert (x[3] == 7).all() and (take(x, ROWS)[0, 0] == 7).all()


@pytest.mark.skipif(not SMAPS.exists(), reason="the system does not say what is resident")
def test_pages_are_let_go(path):
    def resident() -> int:
        lines = SMAPS.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if line.endswith(path.name))
        return int(next(line.split()[1] for line in lines[at:] if line.startswith("Rss:")))

    x = np.load(path, mmap_mode="r")
    x[ROWS]
    assert resident() > 0
    take(x, ROWS)
    assert resident() == 0


class Lazy:
    """An array that is read like a data set of HDF5: rising rows of one axis, without repetition, never whole."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        rows = np.asarray(rows)
        assert rows.ndim == 1 and (np.diff(rows) > 0).all()
        self.most = max(self.most, len(rows))
        return self.array[rows]

    def __array__(self, *args, **kwargs):
        raise AssertionError("read whole")


def test_lazily_indexed_arrays_are_read_by_rising_rows():
    array = np.arange(60).reshape(20, 3)
    rows = np.array([[7, 3], [7, 19]])
    lazy = Lazy(array)
    np.testing.assert_array_equal(take(lazy, rows), array[rows])
    assert lazy.most == 3


def test_streamed_tasks_of_a_lazily_indexed_array_are_those_of_the_array():
    array = np.arange(60, dtype=np.float32).reshape(20, 3)
    data = jm.ClassSet(array, np.arange(0, 20, 5), np.full(4, 5), tuple("abcd"))
    lazy = data._replace(x=Lazy(array))
    sampler = jm.tasks.streamed(lazy, num_ways=2, num_shots=1, num_queries=2)
    whole = jm.tasks.episodes(data, num_ways=2, num_shots=1, num_queries=2)
    key = jax.random.key(3)
    np.testing.assert_array_equal(sampler(key).query.x, whole(key).query.x)
    assert lazy.x.most <= 6
