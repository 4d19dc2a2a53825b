"""`from_folder`: folders and zips of images, and what bad ones get."""

import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmeta import datasets

GROCERY = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "grocery" / "grocery84_jpeg.zip"
RNG = np.random.default_rng(0)


def encoded(height=4, width=6, kind="PNG", mode="RGB"):
    file = io.BytesIO()
    pixels = RNG.integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def sixteen_bits():
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6), 4096, np.uint16)).save(file, "PNG")
    return file.getvalue()


def make_folder(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FILES = {
    "cat/2.png": encoded(),
    "cat/1.png": encoded(),
    "dog/big/1.PNG": encoded(),
    "dog/small/1.bmp": encoded(kind="BMP"),
    "cat/.DS_Store": b"hidden",
    "cat/Thumbs.db": b"hidden",
    "__MACOSX/cat/._1.png": b"hidden",
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_loads_nested_classes(tmp_path, kind):
    path = make_folder(tmp_path, FILES) if kind == "folder" else make_zip(tmp_path / "a.zip", FILES)
    data = datasets.from_folder(path)
    assert data.names == ("cat", "dog/big", "dog/small") and data.count.tolist() == [2, 1, 1]
    assert data.x.shape == (4, 4, 6, 3) and data.x.dtype == np.uint8
    np.testing.assert_array_equal(data.x[0], np.asarray(Image.open(io.BytesIO(FILES["cat/1.png"]))))
    assert datasets.from_folder(path, root="dog").names == ("big", "small")


def test_size_and_color(tmp_path):
    make_folder(
        tmp_path,
        {"a/1.png": encoded(8, 9), "b/1.jpg": encoded(20, 11, "JPEG"), "b/2.gif": encoded(kind="GIF")},
    )
    assert datasets.from_folder(tmp_path, size=5).x.shape == (3, 5, 5, 3)
    assert datasets.from_folder(tmp_path, size=(5, 7), color="gray").x.shape == (3, 5, 7, 1)


def test_photographs_are_upright(tmp_path):
    image, exif = Image.new("RGB", (6, 4)), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "1.jpg", exif=exif)
    assert datasets.from_folder(tmp_path).x.shape == (1, 6, 4, 3)


def test_link_inside_is_read(tmp_path):
    make_folder(tmp_path, {"a/1.png": encoded()})
    os.symlink("1.png", tmp_path / "a" / "2.png")
    assert datasets.from_folder(tmp_path).count.tolist() == [2]


BAD = {
    "no class": ({"1.png": encoded()}, {}, "'1.png' in .* is in no class folder"),
    "text": ({"a/1.png": encoded(), "a/notes.txt": b"hi"}, {}, "'a/notes.txt' in .* is not an image file"),
    "two at once": ({"a/n.txt": b"hello", "1.png": encoded()}, {}, "This is not all: `jaxmeta data check` names every"),
    "text named png": ({"a/1.png": b"hello"}, {}, "'a/1.png' in .* is not an image that can be read"),
    "postscript": (
        {"a/1.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"},
        {},
        "'a/1.png' in .* is not an image",
    ),
    "truncated": ({"a/1.jpg": encoded(60, 60, "JPEG")[:1500]}, {}, "'a/1.jpg' in .* is damaged or cut short"),
    "shapes": ({"a/1.png": encoded(), "a/2.png": encoded(5, 6)}, {}, r"'a/2.png' is \(5, 6\).* Pass `size`"),
    "deep": ({"a/1.png": sixteen_bits()}, {}, "'a/1.png' in .* has more than 8 bits per channel"),
    "size": ({"a/1.png": encoded()}, {"size": 0}, "`size` must be None, pixels, or .* got 0"),
    "color": ({"a/1.png": encoded()}, {"color": "blue"}, "`color` must be 'rgb' or 'gray', got 'blue'"),
    "root": ({"a/1.png": encoded()}, {"root": "train"}, "holds no images below 'train'"),
    "outside root": ({"a/1.png": encoded()}, {"root": "../a"}, "holds no images below '../a'"),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("case", BAD)
def test_bad_content(tmp_path, case, kind):
    files, options, message = BAD[case]
    path = make_folder(tmp_path, files) if kind == "folder" else make_zip(tmp_path / "a.zip", files)
    with pytest.raises(ValueError, match=message):
        datasets.from_folder(path, **options)


def test_missing_and_empty(tmp_path):
    with pytest.raises(ValueError, match="`path`: .*nowhere' does not exist"):
        datasets.from_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no images\. Expected folders of images"):
        datasets.from_folder(tmp_path)
    make_folder(tmp_path, {"a/1.png": encoded(), "b/.DS_Store": b""})
    with pytest.raises(ValueError, match="the folder 'b/' in .* is empty"):
        datasets.from_folder(tmp_path)


def test_too_many_pixels_are_never_decoded(tmp_path):
    header = encoded(8, 8)
    huge = header[:16] + (9000).to_bytes(4, "big") * 2 + header[24:29]
    huge += zlib.crc32(huge[12:29]).to_bytes(4, "big") + header[33:]
    make_folder(tmp_path, {"a/1.png": huge})
    with pytest.raises(ValueError, match="'a/1.png' in .* has 9000 x 9000 pixels, more than"):
        datasets.from_folder(tmp_path)


@pytest.mark.parametrize("target", ["file", "folder"])
def test_links_to_elsewhere_are_refused(tmp_path, target):
    make_folder(tmp_path / "secret", {"1.png": encoded()})
    make_folder(tmp_path / "data", {"a/1.png": encoded()})
    os.symlink(tmp_path / "secret" / ("1.png" if target == "file" else ""), tmp_path / "data" / "a" / "2.png")
    with pytest.raises(ValueError, match="2.png' is a link to another place, which is refused"):
        datasets.from_folder(tmp_path / "data")


@pytest.mark.parametrize("name", ["../a/1.png", "/a/1.png", "a/../../1.png", "C:/a/1.png", "a\\..\\1.png"])
def test_members_that_lead_outside_are_refused(tmp_path, name):
    path = make_zip(tmp_path / "a.zip", {name: encoded()})
    with pytest.raises(ValueError, match="a.zip' has a member named .* leads outside"):
        datasets.from_folder(path)


def test_zip_with_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("a/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "../secret.png")
    with pytest.raises(ValueError, match="member named 'a/1.png' that is a link"):
        datasets.from_folder(tmp_path / "a.zip")


def test_damaged_zips(tmp_path):
    whole = make_zip(tmp_path / "a.zip", {"a/1.png": encoded(40, 40)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.zip' is not a whole zip file"):
        datasets.from_folder(tmp_path / "cut.zip")
    (tmp_path / "flipped.zip").write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    with pytest.raises(ValueError, match="'a/1.png' in .*flipped.zip' cannot be unpacked"):
        datasets.from_folder(tmp_path / "flipped.zip")


def test_real_photographs():
    if not GROCERY.exists():
        pytest.skip("needs the project's shared data: shared/data/grocery/grocery84_jpeg.zip beside the checkout")
    splits = {split: datasets.from_folder(GROCERY, root=split, size=(21, 21)) for split in ("train", "val", "test")}
    assert sum(len(data.x) for data in splits.values()) == 5421
    assert len(splits["train"].names) == 81 and "Fruit/Apple/Golden-Delicious" in splits["train"].names
    assert splits["train"].x.shape[1:] == (21, 21, 3) and splits["train"].count.sum() == 2640
