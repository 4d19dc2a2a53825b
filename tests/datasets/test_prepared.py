"""Decoded images in the cache folder: those of their source, read in its place, and never those of an older one."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxmeta import datasets
from jaxmeta.datasets import _folder
from jaxmeta.datasets._published import class_names

CLASSES = class_names("fc100")["val"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)
    return tmp_path / "cache" / "prepared"


def image(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def fill(path, values=range(20), more=()):
    """Two images of each class of a split: files in a folder, or in a zip."""
    files = {f"{c}/{i}.png": image(value) for c, value in zip(CLASSES, values, strict=True) for i in range(2)}
    files |= dict(more)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


def read(path, **options):
    return datasets.published_split("fc100", "val", data_dir=path, **options)


@pytest.mark.parametrize("name", ["set.zip", "set"])
def test_images_are_decoded_once(tmp_path, cache, monkeypatch, name):
    path = fill(tmp_path / name)
    first = read(path)
    assert [file.name[:16] for file in cache.iterdir()] == ["fc100-val-32x32-"]
    with monkeypatch.context() as patch:
        patch.setattr(_folder, "read_image", lambda *_: pytest.fail("decoded again"))
        again = read(path)
    np.testing.assert_array_equal(again.x, first.x)
    assert again.names == first.names and again.count.tolist() == first.count.tolist() and again.x.dtype == np.uint8
    assert read(path, size=8).x.shape == (40, 8, 8, 3)  # another size is another file
    assert read(fill(tmp_path / f"other-{name}", [7] * 20)).x[0, 0, 0, 0] == 7  # and so is another source
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("name", ["set.zip", "set"])
def test_a_source_that_changed_is_read_again(tmp_path, cache, name):
    path = fill(tmp_path / name)
    assert read(path).x[0, 0, 0, 0] == 0
    fill(path, range(1, 21))  # as many files, of as many bytes
    os.utime(path if path.is_file() else path / CLASSES[0] / "0.png", ns=(1, 1))  # and not newer than before
    assert read(path).x[::2, 0, 0, 0].tolist() == list(range(1, 21))
    fill(path, range(1, 21), {f"{CLASSES[3]}/2.png": image(99)})
    assert read(path).count[3] == 3
    if path.is_dir():
        (path / CLASSES[3] / "2.png").rename(path / CLASSES[4] / "2.png")
        assert read(path).count[3:5].tolist() == [2, 3]
    assert len(list(cache.iterdir())) == 1  # nothing old is left


@pytest.mark.parametrize("spoil", ["cut", "text", "flipped"])
def test_a_damaged_file_is_made_again(tmp_path, cache, spoil):
    path = fill(tmp_path / "set.zip")
    first = read(path)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes({"cut": whole[: len(whole) // 2], "text": b"hello", "flipped": bytes(flipped)}[spoil])
    np.testing.assert_array_equal(read(path).x, first.x)
    assert len(file.read_bytes()) == len(whole)


def test_without_a_cache_images_are_read_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "file"))
    with pytest.warns(
        UserWarning, match="fc100-val-32x32-.* was read, but not kept in the cache.*JAXMETA_CACHE"
    ) as said:
        assert len(read(fill(tmp_path / "set.zip")).x) == 40
    assert said[0].filename == __file__  # points to the caller


def test_folders_of_ones_own_are_not_kept(tmp_path, cache):
    assert len(datasets.from_folder(fill(tmp_path / "set"), size=8).x) == 40
    assert not cache.exists()
