"""Files of real people: each is read as it should be, or refused in a sentence that names it; `data check` sees all."""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxmeta import datasets
from jaxmeta.cli import _data
from jaxmeta.datasets._images import FLOOR, RATIO
from jaxmeta.datasets._prepared import Images, load


def saved(image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half_red(kind="JPEG", **options) -> bytes:
    """Red on the left, black on the right: 40 wide, 20 high."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = 255
    return saved(Image.fromarray(pixels), kind, **options)


def with_exif(block: bytes) -> bytes:
    data, payload = half_red(), b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]


def ifd(*entries) -> bytes:
    rows = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)


def ring(mode: str, ink=0) -> bytes:
    """A ring of ink on a transparent ground, of the same ink where it cannot be seen."""
    mask = Image.new("L", (40, 40), 0)
    ImageDraw.Draw(mask).ellipse((8, 8, 31, 31), outline=255, width=4)
    if mode == "P":
        image = mask.point(lambda v: 1 if v else 0).convert("P")
        image.putpalette([0] * 768)
        return saved(image, transparency=0)
    image = Image.new(mode, (40, 40), (ink,) * (len(mode) - 1) + (0,))
    image.putalpha(mask)
    return saved(image)


TURNED = (0x0112, 3, 1, struct.pack("<HH", 6, 0))  # by a quarter: red comes to the top
EXIF = {  # a block -> where red is
    "turned": (ifd(TURNED), "top"),
    "empty": (b"", "left"),
    "garbage": (b"garbage that is no TIFF", "left"),
    "byte": (ifd((0x0112, 1, 1, b"\6\0\0\0")), None),
    "letters": (ifd((0x0112, 2, 2, b"6\0\0\0")), None),
    "unknown": (ifd((0x0112, 3, 1, struct.pack("<HH", 99, 0))), "left"),
    "beyond": (ifd(TURNED, (0x010E, 2, 4000, struct.pack("<I", 60000))), "top"),
    "float": (ifd(TURNED, (0x0103, 11, 1, struct.pack("<f", 1e30))), "top"),
    "signed": (ifd(TURNED, (0x0128, 8, 1, struct.pack("<hh", -2, 0))), "top"),
    "long in short": (ifd(TURNED, (0x0128, 4, 1, struct.pack("<I", 70000))), "top"),
    "strips": (ifd(TURNED, (0x0111, 2, 3, b"ab\0\0")), "top"),
}


@pytest.mark.parametrize("case", EXIF)
def test_broken_exif_does_not_hide_the_pixels(tmp_path, case):
    block, where = EXIF[case]
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(with_exif(block))
    red = datasets.from_folder(tmp_path, size=8).x[0, ..., 0]
    left, top = red[:, :3].min() > 200 and red[:, 5:].max() < 60, red[:3].min() > 200 and red[5:].max() < 60
    assert left != top and (where is None or (top if where == "top" else left))


READ = {  # name, bytes -> what is at the corner and whether the rest differs from it
    "RGBA black ink": ("1.png", ring("RGBA"), (255, 255, 255)),
    "RGBA white ink": ("1.png", ring("RGBA", 255), (255, 255, 255)),
    "LA black ink": ("1.png", ring("LA"), (255, 255, 255)),
    "P transparent index": ("1.png", ring("P"), (255, 255, 255)),
    "GIF": ("1.gif", half_red("GIF"), (255, 0, 0)),
    "jfif": ("1.JFIF", half_red(), (254, 0, 0)),
    "jpe": ("1.jpe", half_red(), (254, 0, 0)),
    "CMYK": ("1.jpg", saved(Image.open(io.BytesIO(half_red())).convert("CMYK"), "JPEG"), (254, 0, 0)),
    "1 bit": ("1.png", saved(Image.new("1", (9, 9), 1)), (255, 255, 255)),
}


@pytest.mark.parametrize("case", READ)
def test_images_that_are_read(tmp_path, case):
    name, data, corner = READ[case]
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / name).write_bytes(data)
    x = datasets.from_folder(tmp_path).x[0].astype(int)
    assert np.abs(x[0, 0] - corner).max() <= 1
    constant = case in ("RGBA white ink", "1 bit")
    assert (np.abs(x - x[:1, :1]).max() == 0) == constant


def test_the_background_can_be_chosen(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(ring("RGBA", 255))
    x = datasets.from_folder(tmp_path, background="black", color="gray").x[0]
    assert x[0, 0] == 0 and x.max() == 255
    with pytest.raises(ValueError, match="`background` must be a colour such as 'white'"):
        datasets.from_folder(tmp_path, background="invisible")


PLACES = {  # what is where a folder is expected -> what is said
    "photo.jpg": (half_red(), "is a single image. Pass the folder that holds the folders of images"),
    "photos.tar": (None, "is a tar archive, which is not read. Unpack it"),
    "photos.tar.gz": (None, "is a tar archive"),
    "photos.zip": (b"no zip", "is not a whole zip file"),
}


@pytest.mark.parametrize("name", PLACES)
def test_files_where_a_folder_is_expected(tmp_path, name):
    data, text = PLACES[name]
    if data is None:
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.addfile(tarfile.TarInfo("cat/1.png"), io.BytesIO())
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"`path`: .*{name}' {text}"):
        datasets.from_folder(tmp_path / name)


def test_zips_of_windows(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("photos\\train\\cat\\1.png", "photos\\test\\dog\\1.png"):
            member = zipfile.ZipInfo("x")
            member.filename = name  # past zipfile, which would write slashes where backslashes are separators
            archive.writestr(member, ring("LA"))
    assert datasets.load(tmp_path / "a.zip", "test", size=4).names == ("dog",)


def test_check_names_every_file_and_never_breaks(tmp_path, capsys):
    """All at once: damaged, transparent, linked, special, unreadable; each is named, none ends the reading."""
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"good{i}.jpg").write_bytes(half_red())
    bad = {
        "white.png": ring("RGBA", 255),
        "cut.jpg": half_red()[:300],
        "none.jpg": b"",
        "bomb.png": struct.pack(">I", 7),
        "deep.png": saved(Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6))),
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    (folder / "loop").symlink_to(folder)
    (folder / "away.jpg").symlink_to("/etc/hostname")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    assert _data.command(["check", str(tmp_path / "photos"), "--json"]).run() == 2
    about = json.loads(capsys.readouterr().out)
    assert about["images"] == 4  # the transparent one can be read too
    for name in [*bad, "loop", "away.jpg", "gone.jpg", "pipe.jpg"]:
        assert sum(name in text for text in about["problems"]) == 1, name
    with pytest.raises(ValueError, match="is a link to another place, which is refused"):
        datasets.from_folder(tmp_path / "photos")


def test_check_tells_of_shared_uneven_and_unused_classes(tmp_path, capsys):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, count in {"Train/cat": 30, "Train/dog": 2, "test/cat": 2, "old/cow": 1}.items():
            for i in range(count):
                archive.writestr(f"{name}/{i}.gif", half_red("GIF"))
    for action, key in (("check", "problems"), ("describe", "shared")):
        assert _data.command([action, str(path), "--json"]).run() == 2
        about = json.loads(capsys.readouterr().out)
        assert len(about[key]) == 1 and "1 of the 1 classes of 'test' is also in 'train' (cat)" in about[key][0]
        assert _data.command([action, str(path), "--json", "--allow-shared-classes"]).run() == 0
        about = json.loads(capsys.readouterr().out)
        for text in ("not used: old/cow", "are uneven: dog has 2 images, cat 30", "is also in 'train'"):
            assert sum(text in note for note in about["notes"]) == 1, text


def test_small_files_do_not_become_gigabytes(tmp_path):
    """24 KB of zip asked for 3 GB: the sum is known from the first image, before it is allocated."""
    huge = saved(Image.new("L", (8000, 8000)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(200):
            archive.writestr(f"cat/{i}.png", huge)
    assert (tmp_path / "a.zip").stat().st_size * RATIO + FLOOR < 200 * 3 * 8000**2
    with pytest.raises(ValueError, match="bytes in files and would take 38,400,000,000 in memory"):
        datasets.from_folder(tmp_path / "a.zip")


def test_a_prepared_file_is_bounded_before_it_is_read(tmp_path, monkeypatch):
    """Its header may claim any shape."""
    wanted = Images({}, ["a"], (2, 4, 4, 1))
    note = np.array(json.dumps({"format": 1}))
    np.savez(tmp_path / "good.npz", x=np.ones((2, 4, 4, 1), np.uint8), names=np.array(["a"]), about=note)
    np.savez_compressed(tmp_path / "bad.npz", x=np.zeros((1 << 22, 4, 4, 1), np.uint8), names=["a"], about=note)
    assert load(tmp_path / "good.npz", wanted) is not None
    monkeypatch.setattr(np, "load", lambda *args, **options: pytest.fail("read"))
    assert load(tmp_path / "bad.npz", wanted) is None


def test_nothing_is_quadratic(tmp_path):
    """A member 20,000 folders deep, and 20,000 folders with a name that is there twice: refused at once."""
    count = 20_000
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/" * count + "1.png", b"")
        for i in range(count):
            archive.writestr(f"c{i}/1.png", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("c9/1.png", b"")
    start = time.process_time()
    with pytest.raises(ValueError, match="has a member more than 64 folders deep"):
        datasets.from_folder(tmp_path / "a.zip")
    assert time.process_time() - start < 5


@pytest.mark.skipif(os.name == "nt", reason="homes are found in another way there")
@pytest.mark.parametrize("home", ["none", "read-only"])
def test_data_is_read_without_a_home(tmp_path, home):
    """Nobody has a home for a user who is in no list of users, as in many containers."""
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(ring("LA"))
    (tmp_path / "home").write_text("a file, in which nothing can be made")
    code = f"""if True:
        import pathlib, warnings
        if {home == "none"}:
            pathlib.Path.home = classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home")))
        from jaxmeta.datasets import _folder, _files
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            chosen = lambda names: {{"cat": [n for n in names if n.endswith("png")]}}
            data = _folder.read_classes(pathlib.Path("photos"), "path", chosen, 8, keep="some")
        print(data.x.shape, len(said), _files.cache_dir().is_dir())
    """
    env = {**os.environ, "HOME": str(tmp_path / "home")}
    env.pop("JAXMETA_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    # Without a home, a private folder lasts as long as the process; where it cannot be written, a warning says so.
    assert done.stdout.split() == ["(1,", "8,", "8,", "3)", "0" if home == "none" else "1", str(home == "none")], done
