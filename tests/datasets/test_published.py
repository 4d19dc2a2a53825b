"""`published_split`: the lists of classes, and files in every layout that they come in; fakes with the right names."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmeta import datasets
from jaxmeta.datasets._published import SETS, TIERED, class_names

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "splits"
FILES = {"cifar_fs": "cifar_fs", "fc100": "fc100", "miniimagenet": "miniimagenet_ravi", "cub": "cub_200_2011"}
SIZES = {"cifar_fs": (64, 16, 20), "fc100": (60, 20, 20), "miniimagenet": (64, 16, 20), "cub": (100, 50, 50)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)


def image(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folders(name, layout="{c}/{i}.png"):
    """Two images of every class."""
    everything = [c for split in class_names(name).values() for c in split]
    return {layout.format(c=c, i=i): image(n) for n, c in enumerate(everything) for i in range(2)}


@pytest.mark.parametrize("name", FILES)
def test_lists_are_whole_and_disjoint(name):
    lists = class_names(name)
    assert tuple(len(lists[split]) for split in ("train", "val", "test")) == SIZES[name]
    assert len({c for names in lists.values() for c in names}) == sum(SIZES[name])


@pytest.mark.parametrize("name", FILES)
def test_lists_are_those_that_were_published(name):
    if not REAL.is_dir():
        pytest.skip("needs the project's shared data: shared/data/splits beside the checkout")
    theirs = json.loads((REAL / f"{FILES[name]}.json").read_text())
    assert {split: list(names) for split, names in class_names(name).items()} == {
        s: theirs[s] for s in class_names(name)
    }


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("layout", ["{c}/{i}.png", "set/images/{c}/{i}.png", "odd/test/{c}/{i}.png"])
def test_class_folders_at_any_depth(tmp_path, name, layout):
    path = zipped(tmp_path / "a.zip", folders(name, layout) | {"README.txt": b"", "set/notes/odd.png": b"not read"})
    start = 0
    for split in ("train", "val", "test"):
        data = datasets.published_split(name, split, data_dir=path, size=8)
        assert data.names == class_names(name)[split] and set(data.count) == {2} and data.x.shape[1:] == (8, 8, 3)
        assert data.x[::2, 0, 0, 0].tolist() == list(range(start, start + len(data.names)))
        start += len(data.names)
    assert datasets.published_split(name, "val", data_dir=path).x.shape[1] == SETS[name].size


def test_images_of_miniimagenet_that_lie_together(tmp_path):
    flat = zipped(tmp_path / "a.zip", folders("miniimagenet", "images/{c}0000000{i}.png"))
    data = datasets.published_split("miniimagenet", "test", data_dir=flat, size=8)
    assert data.names == class_names("miniimagenet")["test"] and set(data.count) == {2}


def test_images_of_miniimagenet_by_its_csv_files(tmp_path):
    names = class_names("miniimagenet")["val"]
    files = {f"images/picture{i}.png": image(i) for i in range(32)}
    rows = [f"picture{i}.png,{names[i % 16]}" for i in range(32)]
    path = zipped(tmp_path / "a.zip", files | {"val.csv": "\n".join(["filename,label", *rows])})
    data = datasets.published_split("miniimagenet", "val", data_dir=path, size=8)
    assert set(data.count) == {2} and data.x[:4, 0, 0, 0].tolist() == [0, 16, 1, 17]
    path = zipped(tmp_path / "b.zip", files | {"val.csv": "\n".join(["filename,label", *rows, f"lost.png,{names[0]}"])})
    with pytest.raises(ValueError, match="val.csv in .* names 1 images that are not there"):
        datasets.published_split("miniimagenet", "val", data_dir=path)
    path = zipped(tmp_path / "c.zip", files | {"val.csv": "a,b,c\n1,2,3"})
    with pytest.raises(ValueError, match="'val.csv' in .* with the columns filename,label"):
        datasets.published_split("miniimagenet", "val", data_dir=path)


def test_tieredimagenet_by_its_folders(tmp_path):
    one = image(3)
    files = {f"tiered/{s}/n{k:08d}/1.png": one for s, count in TIERED.items() for k in range(count)}
    data = datasets.published_split("tieredimagenet", "val", data_dir=zipped(tmp_path / "a.zip", files), size=8)
    assert len(data.names) == 97 and data.x.shape == (97, 8, 8, 3)
    del files["tiered/val/n00000003/1.png"]
    with pytest.raises(ValueError, match="has 96 class folders in 'val', but tieredImageNet has 97"):
        datasets.published_split("tieredimagenet", "val", data_dir=zipped(tmp_path / "b.zip", files))


def test_missing_classes_are_named(tmp_path):
    files = folders("cub")
    lost = class_names("cub")["test"][:7]
    path = zipped(tmp_path / "a.zip", {name: data for name, data in files.items() if name.split("/")[0] not in lost})
    with pytest.raises(ValueError, match=f"43 of the 50 classes .* missing: {', '.join(lost[:5])} and 2 more"):
        datasets.published_split("cub", "test", data_dir=path)
    assert len(datasets.published_split("cub", "val", data_dir=path, size=4).names) == 50


def test_unknown_names_and_no_data(tmp_path):
    with pytest.raises(ValueError, match="`name` is 'mini_imagenet'; did you mean 'miniimagenet'?"):
        datasets.published_split("mini_imagenet", "train")
    with pytest.raises(ValueError, match="`split` is 'valid'; did you mean 'val'?"):
        datasets.published_split("cub", "valid")
    with pytest.raises(ValueError, match="`data_dir` is None, and miniimagenet is not in .*cache/miniimagenet'"):
        datasets.published_split("miniimagenet", "train")
    with pytest.raises(ValueError, match="may not be fetched by a program"):
        datasets.published_split("tieredimagenet", "train", download=True)
    with pytest.raises(
        ValueError, match="nowhere.* Pass a folder or zip of its class folders, or pass `download=True`"
    ):
        datasets.published_split("fc100", "train", data_dir=tmp_path / "nowhere")


PREPARE = """
import io, sys, numpy as np, tensorflow_datasets as tfds
from PIL import Image
from jaxmeta.datasets._published import class_names

folder = sys.argv[1]
VERSIONS = {name: tfds.builder_cls(name).VERSION for name in ("cifar100", "caltech_birds2011")}

f, box = tfds.features, tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
MORE = {  # what the real ones hold beside images and labels
    "cifar100": ({"id": f.Text(), "coarse_label": f.ClassLabel(num_classes=20)}, {"id": "a", "coarse_label": 0}),
    "caltech_birds2011": (
        {"image/filename": f.Text(), "label_name": f.Text(), "bbox": f.BBoxFeature(),
         "segmentation_mask": f.Image(shape=(None, None, 1))},
        {"image/filename": "a", "label_name": "b", "bbox": box},
    ),
}

def encoded(value, mode="RGB"):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (value, 0, 0)).convert(mode).save(file, "PNG")
    return file.getvalue()

def prepare(name, labels, count):
    class Fake(tfds.core.GeneratorBasedBuilder):
        VERSION = VERSIONS[name]

        def _info(self):
            features = {"image": f.Image(), "label": f.ClassLabel(**labels), **MORE[name][0]}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(0), "test": self._generate_examples(1)}

        def _generate_examples(self, part):
            for label in range(count):
                row = {"image": encoded(label), "label": label, **MORE[name][1]}
                yield label, row | ({"segmentation_mask": encoded(0, "L")} if name != "cifar100" else {})

    Fake.name = name
    Fake(data_dir=folder, file_format="array_record").download_and_prepare(file_format="array_record")

with tfds.core.registered.skip_registration():
    names = sorted(c for names in class_names("cifar_fs").values() for c in names)
    prepare("cifar100", {"names": names}, 100)
    prepare("caltech_birds2011", {"num_classes": 200}, 200)

from jaxmeta.datasets import published_split
for name in ("cifar_fs", "fc100", "cub"):
    for split, wanted in class_names(name).items():
        data = published_split(name, split, data_dir=folder, size=8)
        assert data.names == wanted and set(data.count.tolist()) == {2} and data.x.shape[1:] == (8, 8, 3)
        numbers = [int(n[:3]) - 1 if name == "cub" else names.index(n) for n in wanted]
        assert data.x[::2, 0, 0, 0].tolist() == numbers
print("read")
"""


def test_data_that_tfds_prepared(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=180)
    assert done.stdout.rstrip().endswith("read"), done.stderr[-3000:]


def test_the_lists_are_in_the_package():
    files = {path.name for path in (Path(datasets.__file__).parent / "splits").iterdir()}
    assert files >= {f"{name}.json" for name in FILES}
    assert np.prod([len(class_names(name)) for name in FILES]) == 81
