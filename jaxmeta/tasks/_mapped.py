"""Rows of arrays on the host, which may be files mapped into memory."""

import mmap
from typing import Any

import numpy as np


def take(array: Any, rows: np.ndarray) -> np.ndarray:
    """Return ``array[rows]`` in memory, ``[..., *]`` for rows ``[...]``.

    The rows of a mapped file are requested all at once and their pages are released afterwards. Reading page by page,
    with the read-ahead of the system, took a hundred times as long for random rows; and pages that stay mapped count
    as memory of the process.

    Example:
      >>> take(np.arange(6).reshape(3, 2), np.array([[2, 0]]))
      array([[[4, 5],
              [0, 1]]])
    """
    mapped = _mapping(array)
    if mapped is not None:
        _request(array, mapped, rows)
    values = np.asarray(array[rows]) if isinstance(array, np.ndarray) else _take_sorted(array, rows)
    if mapped is not None and not _is_private(array):
        mapped.madvise(mmap.MADV_DONTNEED)  # for this process only: they stay in the cache of the system
    return values


def _take_sorted(array: Any, rows: np.ndarray) -> np.ndarray:
    """Return ``array[rows]`` of an array that is indexed lazily, such as a data set of HDF5 or Zarr.

    Such arrays take rising row numbers without repetition, along one axis.
    """
    unique, place = np.unique(rows.ravel(), return_inverse=True)
    values = np.asarray(array[unique])
    return values[place.reshape(-1)].reshape(*rows.shape, *values.shape[1:])


def _request(array: np.ndarray, mapped: mmap.mmap, rows: np.ndarray) -> None:
    """Tell the system which pages of a mapped file are read next."""
    first = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    size = array.strides[0]
    for row in rows.ravel().tolist():
        begin = first + row * size
        page = begin - begin % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, begin + size - page)


def _owners(array: Any) -> list[Any]:
    """Return the array and the chain of objects that own its memory."""
    return [array, *_owners(array.base)] if isinstance(array, np.ndarray) else [array]


def _mapping(array: Any) -> mmap.mmap | None:
    """Return the mapped file behind a contiguous array, or None."""
    last = _owners(array)[-1]
    helps = isinstance(last, mmap.mmap) and array.flags.c_contiguous and hasattr(mmap, "MADV_WILLNEED")
    return last if helps else None


def _is_private(array: Any) -> bool:
    """Return whether written pages belong only to this process, so that releasing them would lose data."""
    modes = [owner.mode for owner in _owners(array) if isinstance(owner, np.memmap)]
    return not modes or "c" in modes
