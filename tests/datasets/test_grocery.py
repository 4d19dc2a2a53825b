"""`grocery`: its split of coarse classes, on a small copy with the real folders and on the real photographs."""

import io
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmeta import datasets
from jaxmeta.datasets._grocery import COARSE

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "grocery"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)


def small(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def copy(path, leave_out=(), more=()):
    """A zip with two fine classes of every coarse one, an image in each of the authors' folders."""
    with zipfile.ZipFile(path, "w") as archive:
        for coarse in sorted({c for part in COARSE.values() for c in part} - set(leave_out) | set(more)):
            for part in ("train", "val", "test"):
                for fine in ("A", "B"):
                    archive.writestr(f"{part}/{coarse}/{fine}/1.png", small(len(part)))
        archive.writestr("classes.csv", "not an image, and not in a part")
    return path


def test_the_rule_of_the_split():
    groups = defaultdict(list)
    for coarse in sorted({c for part in COARSE.values() for c in part}):
        groups[coarse.split("/")[0]].append(coarse)
    assert {group: len(names) for group, names in groups.items()} == {"Fruit": 19, "Packages": 9, "Vegetables": 15}
    for names in groups.values():
        for i, coarse in enumerate(names):
            assert coarse in COARSE[("train", "train", "train", "test", "val")[i % 5]]
    assert sum(map(len, COARSE.values())) == 43


@pytest.mark.parametrize("kind", ["zip", "folder with the zip", "folder"])
def test_parts_are_joined_and_sizes_are_those_asked_for(tmp_path, kind):
    path = copy(tmp_path / "some.zip")
    if kind == "folder":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "all")
    where = {"zip": path, "folder with the zip": tmp_path, "folder": tmp_path / "all"}[kind]
    sets = {split: datasets.grocery(split, data_dir=where, size=8) for split in ("train", "val", "test", "all")}
    assert [len(data.names) for data in sets.values()] == [54, 14, 18, 86]
    assert not set(sets["train"].names) & set(sets["test"].names) and sets["test"].x.shape == (54, 8, 8, 3)
    assert set(sets["val"].count.tolist()) == {3} and sorted(set(sets["val"].x[..., 0].ravel())) == [3, 4, 5]


def test_one_class_under_two_names_is_one(tmp_path):
    path = copy(tmp_path / "some.zip", leave_out=["Vegetables/Mushroom"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/Vegetables/Brown-Cap-Mushroom/1.png", small(1))
        archive.writestr("test/Vegetables/Mushroom/Brown-Cap-Mushroom/1.png", small(2))
    data = datasets.grocery("test", data_dir=path)
    assert data.count[data.names.index("Vegetables/Mushroom/Brown-Cap-Mushroom")] == 2


def test_missing_and_unknown_classes_are_named(tmp_path):
    path = copy(tmp_path / "some.zip", leave_out=["Fruit/Kiwi", "Fruit/Lime"], more=["Fruit/Durian"])
    with pytest.raises(ValueError, match=r"`data_dir`: .*missing: Fruit/Kiwi, Fruit/Lime; unknown: Fruit/Durian"):
        datasets.grocery("train", data_dir=path)


def test_no_data_and_no_split(tmp_path):
    with pytest.raises(ValueError, match="`data_dir` is None, and Grocery is not in .*cache/grocery'"):
        datasets.grocery("train")
    with pytest.raises(ValueError, match="`split` is 'tset', .* did you mean 'test'?"):
        datasets.grocery("tset", data_dir=tmp_path)


def test_real_photographs():
    if not REAL.is_dir():
        pytest.skip("needs the project's shared data: shared/data/grocery beside the checkout")
    test = datasets.grocery("test", data_dir=REAL)
    assert test.x.shape == (1388, 84, 84, 3) and len(test.names) == 18 and test.count.min() == 43
    assert {"/".join(name.split("/")[:2]) for name in test.names} == set(COARSE["test"])
    assert 60 < np.mean(test.x) < 160
