"""Grocery: 5,421 photographs of 81 kinds of fruit, vegetables and cartons, taken with telephones in shops.

Klasson, Zhang and Kjellström, 2019, https://arxiv.org/abs/1901.00711, https://github.com/marcusklasson/GroceryStoreDataset
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from jaxmeta.types import ClassSet

from ._files import places
from ._folder import read_classes

# The authors' folders share all classes, so few-shot learning needs a split of its own. Of every five coarse classes
# of a group, in alphabetical order, the first three train, the fourth tests and the fifth validates.
COARSE = {
    "train": """
        Fruit/Apple Fruit/Avocado Fruit/Banana Fruit/Lime Fruit/Mango Fruit/Melon Fruit/Papaya Fruit/Passion-Fruit
        Fruit/Peach Fruit/Plum Fruit/Pomegranate Fruit/Red-Grapefruit Packages/Juice Packages/Milk Packages/Oat-Milk
        Packages/Sour-Milk Packages/Soy-Milk Packages/Soyghurt Vegetables/Asparagus Vegetables/Aubergine
        Vegetables/Cabbage Vegetables/Garlic Vegetables/Ginger Vegetables/Leek Vegetables/Pepper Vegetables/Potato
        Vegetables/Red-Beet
    """.split(),
    "val": """
        Fruit/Lemon Fruit/Orange Fruit/Pineapple Packages/Sour-Cream Vegetables/Cucumber Vegetables/Onion
        Vegetables/Zucchini
    """.split(),
    "test": """
        Fruit/Kiwi Fruit/Nectarine Fruit/Pear Fruit/Satsumas Packages/Oatghurt Packages/Yoghurt Vegetables/Carrots
        Vegetables/Mushroom Vegetables/Tomato
    """.split(),
}
SPLITS = (*COARSE, "all")
PARTS = ("train", "val", "test")  # the authors' folders, which are joined here
_MOVED = {"Vegetables/Brown-Cap-Mushroom": "Vegetables/Mushroom/Brown-Cap-Mushroom"}  # one class under two names


def grocery(
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] = 84,
    download: bool = False,
) -> ClassSet:
    """Read Grocery's photographs as a `ClassSet`, split by coarse class: all kinds of apple are in one split.

    The classes are the fine ones (``Fruit/Apple/Pink-Lady``) where there are any, and have 35 to 143 photographs. The
    authors' folders share all classes; their photographs are joined. The split is this library's own. Decoded
    photographs are kept in the cache folder, as for `published_split`.

    Args:
      split: ``"train"`` (55 classes of 27 coarse ones), ``"val"`` (8 of 7), ``"test"`` (18 of 9), or ``"all"`` (81).
      data_dir: a folder with the authors' folders ``train``, ``val`` and ``test``, a zip of them, or a folder with that
        zip. By default ``$JAXMETA_DATA_DIR/grocery``, then ``grocery`` in the cache folder.
      size: pixels, one number or ``(height, width)``; photographs are resized to it without keeping their aspect.
      download: must be False: the photographs may not be fetched by a program.

    Returns:
      A `ClassSet`: `x` uint8 ``[M, h, w, 3]``, classes in alphabetical order.

    Raises:
      ValueError: if the split is unknown; if there is no data, or classes are missing; if a file is damaged; if
        `download` is True.

    Example:
      >>> from jaxmeta import datasets
      >>> test = datasets.grocery("test", data_dir="data/grocery")  # doctest: +SKIP
      >>> test.x.shape, len(test.names)  # doctest: +SKIP
      ((1388, 84, 84, 3), 18)
      >>> datasets.grocery("tests")
      Traceback (most recent call last):
      ValueError: `split` is 'tests', which Grocery does not have; did you mean 'test'? ...
    """
    if split not in SPLITS:
        near = difflib.get_close_matches(str(split), SPLITS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"`split` is {split!r}, which Grocery does not have; {hint}Choose one of {', '.join(SPLITS)}.")
    if download:
        fetch_grocery(data_dir)
    path = _find(data_dir)
    wanted = {coarse for part, names in COARSE.items() if split in (part, "all") for coarse in names}

    def chosen(names: Sequence[str]) -> dict[str, list[str]]:
        return {name: files for name, files in _classes(names, path).items() if _coarse(name) in wanted}

    return read_classes(path, "data_dir", chosen, size, keep=f"grocery-{split}")


def fetch_grocery(data_dir: str | os.PathLike[str] | None) -> str:
    """Refuse to download."""
    raise ValueError(
        "`download`: grocery may not be fetched by a program. Clone "
        "https://github.com/marcusklasson/GroceryStoreDataset, and pass its folder `dataset` as `data_dir`."
    )


def _find(data_dir: str | os.PathLike[str] | None) -> Path:
    """Find the folder or zip with the photographs."""
    looked = places("grocery", data_dir)
    for place in looked:
        zips = sorted(place.glob("*.zip")) if place.is_dir() else []
        if place.is_file() or (place / "train").is_dir():
            return place
        if len(zips) == 1:
            return zips[0]
    raise ValueError(
        f"`data_dir` is {None if data_dir is None else str(data_dir)!r}, and Grocery is not in "
        f"{' and '.join(repr(str(place)) for place in looked)}. Put the folders train, val and test of "
        "https://github.com/marcusklasson/GroceryStoreDataset (in `dataset` there), or one zip of them, into it."
    )


def _classes(names: Sequence[str], path: Path) -> dict[str, list[str]]:
    """Map each class to its photographs, in alphabetical order; all coarse classes must be there, and no others."""
    classes: dict[str, list[str]] = {}
    for name in names:
        part, *folders = PurePosixPath(name).parent.parts or ("",)
        if part in PARTS and not name.endswith("/"):
            folder = "/".join(folders)
            classes.setdefault(_MOVED.get(folder, folder), []).append(name)
    known = {coarse for part in COARSE.values() for coarse in part}
    found = {_coarse(name) for name in classes}
    if found != known:
        missing, extra = sorted(known - found), sorted(found - known)
        odd = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(extra[:5])}"] * bool(extra)
        raise ValueError(
            f"`data_dir`: {str(path)!r} does not hold Grocery's coarse classes below train, val and test "
            f"({'; '.join(odd)}). Copy the authors' folders as they are."
        )
    return dict(sorted(classes.items()))


def _coarse(name: str) -> str:
    return "/".join(name.split("/")[:2])
