"""`datasets.load`: every way to name data leads to its reader; classes are split by folders, or else by name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmeta import datasets
from jaxmeta.datasets import ClassSplit
from jaxmeta.datasets._class_splits import explain
from jaxmeta.datasets._registry import DATASETS, DataSet

GROCERY = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "grocery" / "grocery84_jpeg.zip"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)


def png(value=0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 9, 9)).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, names) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, png())
    return str(path)


def several(*folders, count=2):
    return [f"{folder}/{i}.png" for folder in folders for i in range(count)]


def test_a_row_is_all_that_a_data_set_needs(monkeypatch):
    few = datasets.from_arrays(np.zeros((2, 3)), ["a", "b"])
    calls = []
    row = DataSet(lambda split, **more: calls.append((split, more)) or few, lambda data_dir: "there")
    monkeypatch.setitem(DATASETS, "mine", row)
    assert datasets.load("mine", "train") is few and datasets.load("mine", "val", size=9, data_dir="d") is few
    assert calls == [
        ("train", {"data_dir": None, "download": False}),
        ("val", {"data_dir": "d", "download": False, "size": 9}),
    ]


def test_names_lead_to_their_readers(tmp_path):
    path = zipped(tmp_path / "a.zip", several("train/cat", "test/dog"))
    assert datasets.load(path, "train", size=3).names == ("cat",)
    assert datasets.load("folder", "test", data_dir=path).x.shape == (2, 84, 84, 3)
    for name, text in {
        "omniglot": "Omniglot is not in",
        "grocery": "Grocery is not in",
        "cub": "cub|caltech_birds2011",
        "omniglott": "`name` is 'omniglott'.* Of this library's own names, 'omniglot' is near",
        "photos/none": "`name`: 'photos/none' does not exist",
        "folder": "`data_dir` is None, and the photographs are your own",
    }.items():
        with pytest.raises(ValueError, match=text):
            datasets.load(name, "train")
    for name in ("grocery", "miniimagenet"):
        with pytest.raises(ValueError, match=f"`download`: {name} may not be fetched by a program"):
            datasets.load(name, "train", download=True)
    with pytest.raises(ValueError, match="`download` is for data sets that a program may fetch"):
        datasets.load(path, "train", download=True)
    with pytest.raises(ValueError, match="`split` is 'all', but a folder or zip has 'train', 'val' and 'test'"):
        datasets.load(path, "all")


LAYOUTS = {  # files -> classes of train and of test, and what is noted
    "plain": (several("train/cat", "test/dog"), "cat", "dog", ""),
    "capitals": (several("Train/cat", "Test/dog"), "cat", "dog", ""),
    "training": (several("training/cat", "testing/dog"), "cat", "dog", ""),
    "enclosed": (several("my photos/pets/train/cat", "my photos/pets/test/dog"), "cat", "dog", ""),
    "val unused": (several("train/cat", "test/dog", "Validation/cow"), "cat", "dog", "not used: Validation/"),
    "more unused": (several("train/cat", "test/dog", "old/cow"), "cat", "dog", "not used: old/"),
    "groups": (several("train/pets/cat", "test/pets/dog"), "pets/cat", "pets/dog", ""),
    "labels": (several("train/0", "test/0"), "0", "0", ""),  # numbers may stand for other classes in each
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_decide(tmp_path, layout):
    names, train, test, note = LAYOUTS[layout]
    path = zipped(tmp_path / "a.zip", names)
    assert datasets.load(path, "train").names == (train,) and datasets.load(path, "test").names == (test,)
    assert explain(Path(path), "data_dir", ClassSplit()) == note


def test_a_validation_folder_is_read_where_it_is_wanted(tmp_path):
    path = zipped(tmp_path / "a.zip", several("train/cat", "test/dog", "valid/cow"))
    assert datasets.load(path, "val").names == ("cow",)
    assert explain(Path(path), "data_dir", ClassSplit(validates=True)) == ""


def test_a_class_may_be_called_train(tmp_path):
    """A folder named like a part that holds images itself, beside other classes, is a class."""
    path = zipped(tmp_path / "a.zip", several("train", "bus", "plane"))
    split = ClassSplit(num_ways=1, num_train_ways=1)
    names = {name for part in ("train", "test") for name in datasets.load(path, part, class_split=split).names}
    assert names == {"train", "bus", "plane"}


REFUSED = {
    "shared": (several("train/cat", "train/Dog", "test/dog", "test/cow"), "1 of the 2 classes of 'test' is also in"),
    "twice": (several("train/cat", "Training/dog", "test/cow"), "two folders for 'train': 'Training' and 'train'"),
    "inside": (several("cat/train", "cat/test", "dog/train", "dog/test"), "has folders test and train inside 'cat'"),
    "no classes": (several("train", "test"), "'train/0.png' in .* is in no class folder"),
    "no test": (several("train/cat"), "has 'train', but no folder 'test' beside it"),
    "no val": (several("a", "b", "c", "d"), "holds out no classes for 'val'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layouts_that_are_refused(tmp_path, case):
    names, text = REFUSED[case]
    split = ClassSplit(num_ways=1, num_train_ways=1)
    with pytest.raises(ValueError, match=f"`name`: .*{text}"):
        datasets.load(zipped(tmp_path / "a.zip", names), "val" if case == "no val" else "test", class_split=split)


def test_shared_classes_are_allowed_by_name(tmp_path):
    path = zipped(tmp_path / "a.zip", several("train/cat", "train/dog", "test/dog"))
    split = ClassSplit(allow_shared_classes=True)
    assert datasets.load(path, "test", class_split=split).names == ("dog",)
    assert explain(Path(path), "x", split) == "1 of the 1 classes of 'test' is also in 'train' (dog)"


def test_the_split_of_a_stranger_shares_its_classes():
    if not GROCERY.exists():
        pytest.skip("needs the project's shared data: shared/data/grocery/grocery84_jpeg.zip beside the checkout")
    # One of the 81 has two names.
    with pytest.raises(ValueError, match="80 of the 81 classes of 'test' are also in 'train'"):
        datasets.load(GROCERY, "test")


def test_small_classes_are_left_out_on_request(tmp_path):
    path = zipped(tmp_path / "a.zip", several("train/cat", "test/dog", count=3) + several("test/ant", count=1))
    assert datasets.load(path, "test").names == ("ant", "dog")
    split = ClassSplit(min_images=2)
    assert datasets.load(path, "test", class_split=split).names == ("dog",)
    assert explain(Path(path), "x", split) == "left out, with fewer than 2 images: ant (1)"
    with pytest.raises(ValueError, match="has no class of 4 images"):
        datasets.load(path, "test", class_split=ClassSplit(min_images=4))
