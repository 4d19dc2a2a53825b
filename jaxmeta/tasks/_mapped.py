"""Rows of arrays on the host, which may be files mapped into memory."""

import mmap
from typing import Any

import numpy as np


def take(array: Any, rows: np.ndarray) -> np.ndarray:
    """``array[rows]`` in memory, ``[..., *]`` for rows ``[...]``.

    Of a mapped file the rows are asked for all at once and let go after. Page by page, with what the system guesses
    to be next, random rows took a hundred times as long; and pages that are kept count as the process's memory.

    Example:
      >>> take(np.arange(6).reshape(3, 2), np.array([[2, 0]]))
      array([[[4, 5],
              [0, 1]]])
    """
    mapped = _mapping(array)
    if mapped is not None:
        _ask(array, mapped, rows)
    found = np.asarray(array[rows]) if isinstance(array, np.ndarray) else _take_sorted(array, rows)
    if mapped is not None and not _is_private(array):
        mapped.madvise(mmap.MADV_DONTNEED)  # of this process alone: they stay in the system's cache
    return found


def _take_sorted(array: Any, rows: np.ndarray) -> np.ndarray:
    """Return ``array[rows]`` of an array that is indexed lazily, such as a data set of HDF5 or Zarr.

    Such arrays take rising row numbers without repetition, along one axis.
    """
    unique, place = np.unique(rows.ravel(), return_inverse=True)
    found = np.asarray(array[unique])
    return found[place.reshape(-1)].reshape(*rows.shape, *found.shape[1:])


def _ask(array: np.ndarray, mapped: mmap.mmap, rows: np.ndarray) -> None:
    first = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    size = array.strides[0]
    for row in rows.ravel().tolist():
        begin = first + row * size
        page = begin - begin % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, begin + size - page)


def _owners(array: Any) -> list[Any]:
    """The array and what its memory belongs to, up to the last."""
    return [array, *_owners(array.base)] if isinstance(array, np.ndarray) else [array]


def _mapping(array: Any) -> mmap.mmap | None:
    last = _owners(array)[-1]
    helps = isinstance(last, mmap.mmap) and array.flags.c_contiguous and hasattr(mmap, "MADV_WILLNEED")
    return last if helps else None


def _is_private(array: Any) -> bool:
    """Whether pages that were written to are this process's alone, and would be lost if let go."""
    modes = [owner.mode for owner in _owners(array) if isinstance(owner, np.memmap)]
    return not modes or "c" in modes
