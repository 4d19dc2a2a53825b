"""`omniglot`: a small synthetic copy for what can go wrong, and the real one where it is at hand."""

import hashlib
import http.server
import io
import json
import os
import re
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmeta import datasets
from jaxmeta.datasets import _download, _omniglot
from jaxmeta.datasets._omniglot_files import Character, read_characters

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "omniglot"
FEW = (
    Character("background", "train", "Greek/character01"),
    Character("background", "val", "Greek/character02"),
    Character("evaluation", "test", "ULOG/character01"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)
    return tmp_path / "cache" / "omniglot"


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A folder with the zips of an Omniglot of three characters."""
    monkeypatch.setattr(_omniglot, "read_characters", lambda: FEW)
    folder = tmp_path / "data"
    folder.mkdir()
    for half in ("background", "evaluation"):
        write_zip(folder / f"images_{half}.zip", drawings(half))
    return folder


def drawings(half):
    names = [f"images_{half}/{c.name}/0001_{i:02d}.png" for c in FEW if c.half == half for i in range(1, 21)]
    return {name: drawing(name) for name in names}


def drawing(name):
    """A black square on white, in a place that depends on the name."""
    image, (x, y) = Image.new("1", (105, 105), 1), hashlib.sha256(name.encode()).digest()[:2]
    image.paste(0, (x % 80, y % 80, x % 80 + 20, y % 80 + 20))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def test_zips_and_folders_agree(few, tmp_path):
    data = datasets.omniglot("all", data_dir=few)
    assert data.x.shape == (60, 28, 28, 1) and data.names == tuple(c.name for c in FEW)
    for half in ("background", "evaluation"):
        with zipfile.ZipFile(few / f"images_{half}.zip") as archive:
            archive.extractall(tmp_path / "unpacked")
    (tmp_path / "unpacked" / "images_background" / ".DS_Store").write_bytes(b"")
    np.testing.assert_array_equal(datasets.omniglot("all", data_dir=tmp_path / "unpacked").x, data.x)


SPLITS = [
    ("train", [0]),
    ("val", [1]),
    ("trainval", [0, 1]),
    ("test", [2]),
    ("background", [0, 1]),
    ("evaluation", [2]),
    ("all", [0, 1, 2]),
]


@pytest.mark.parametrize("split, rows", SPLITS)
def test_splits(few, split, rows):
    data, whole = datasets.omniglot(split, data_dir=few), datasets.omniglot("all", data_dir=few)
    assert data.names == tuple(FEW[i].name for i in rows) and data.count.tolist() == [20] * len(rows)
    np.testing.assert_array_equal(data.x, np.concatenate([whole.x[20 * i : 20 * i + 20] for i in rows]))


@pytest.mark.parametrize("resize", ["antialias", "nearest"])
def test_ink_is_white_and_resizing_is_pillows(few, resize):
    first = next(iter(drawings("background").values()))
    image = Image.open(io.BytesIO(first))
    if resize == "antialias":
        expected = 255 - np.asarray(image.convert("L").resize((28, 28), Image.Resampling.LANCZOS))
    else:  # as published code got it: Pillow ignores the filter on 1-bit images
        expected = 255 * ~np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS)).astype(bool)
    x = datasets.omniglot("train", data_dir=few, resize=resize).x
    np.testing.assert_array_equal(x[0, :, :, 0], expected)
    assert 0 < x.mean() < 64  # mostly paper
    assert x.max() == 255 and (set(np.unique(x)) == {0, 255}) == (resize == "nearest")


def test_cache_is_reused_and_equals_the_sources(few, cache, monkeypatch):
    first = datasets.omniglot("all", data_dir=few)
    assert [path.name for path in cache.iterdir()] == ["omniglot-28-antialias.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(_omniglot, "read_drawings", lambda *_: pytest.fail("the cache was not used"))
        np.testing.assert_array_equal(datasets.omniglot("all", data_dir=few).x, first.x)
    assert datasets.omniglot("all", data_dir=few, size=20).x.shape == (60, 20, 20, 1)


@pytest.mark.parametrize("spoil", ["cut", "text", "pickle", "empty"])
def test_unreadable_cache_is_rebuilt(few, cache, spoil):
    first = datasets.omniglot("all", data_dir=few)
    path = cache / "omniglot-28-antialias.npz"
    whole = path.read_bytes()
    if spoil == "pickle":
        np.savez(path, about=np.array({"a": 1}, object))
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[spoil])
    np.testing.assert_array_equal(datasets.omniglot("all", data_dir=few).x, first.x)
    assert len(path.read_bytes()) == len(whole)


def test_stale_cache_is_rebuilt(few):
    before = datasets.omniglot("train", data_dir=few).x
    files = drawings("background")
    names = list(files)
    write_zip(few / "images_background.zip", {**files, names[0]: files[names[1]]})
    os.utime(few / "images_background.zip", ns=(1, 1))
    after = datasets.omniglot("train", data_dir=few).x
    np.testing.assert_array_equal(after[0], before[1])


def test_unwritable_cache_warns(few, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="omniglot-28-antialias was read, but not kept in the cache"):
        assert len(datasets.omniglot("all", data_dir=few).x) == 60


def test_nothing_half_written(few, cache, monkeypatch):
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        datasets.omniglot("all", data_dir=few)
    assert list(cache.iterdir()) == []


def test_prepared_file_as_source(few, cache, tmp_path):
    first = datasets.omniglot("all", data_dir=few)
    prepared = (cache / "omniglot-28-antialias.npz").rename(tmp_path / "omniglot-28-antialias.npz")
    for data_dir in (tmp_path, prepared):
        np.testing.assert_array_equal(datasets.omniglot("all", data_dir=data_dir).x, first.x)
    with pytest.raises(ValueError, match="is not a prepared Omniglot of size=28 and resize='nearest'"):
        datasets.omniglot("all", data_dir=prepared, resize="nearest")


def test_default_places(few, cache, monkeypatch):
    with pytest.raises(
        ValueError, match=r"`data_dir` is None, and Omniglot is not in '.*cache.omniglot'.*`download=True`"
    ):
        datasets.omniglot("train")
    first = datasets.omniglot("train", data_dir=few)
    np.testing.assert_array_equal(datasets.omniglot("train").x, first.x)  # prepared a line ago
    few.rename(few.parent / "omniglot")
    (cache / "omniglot-28-antialias.npz").unlink()
    monkeypatch.setenv("JAXMETA_DATA_DIR", str(few.parent))
    np.testing.assert_array_equal(datasets.omniglot("train").x, first.x)


@pytest.mark.parametrize("options, message", [
    (dict(split="tset"), "`split` is 'tset', which Omniglot does not have; did you mean 'test'"),
    (dict(split="train", size=0), "`size` must be from 1 to 420 pixels .* got 0"),
    (dict(split="train", resize="cubic"), "`resize` must be 'antialias' or 'nearest', got 'cubic'"),
    (dict(split="train", data_dir="nowhere"), "`data_dir` is 'nowhere', and Omniglot is not in"),
])  # fmt: skip
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.omniglot(**options)


def without(index):
    def spoil(files):
        return {name: data for i, (name, data) in enumerate(files.items()) if i not in index}

    return spoil


BAD = {
    "no character": (without(range(20, 40)), "holds 1 characters, expected 2 .missing Greek/character02"),
    "no drawing": (
        without([25]),
        "Greek/character02 in .*images_background.zip' has 19 drawings, expected 20",
    ),
    "unknown": (
        lambda f: {**f, "images_background/Greek/character99/1.png": b""},
        "unknown Greek/character99",
    ),
    "stranger": (lambda f: {**f, "images_background/Greek/notes.txt": b""}, "notes.txt' in .* is no drawing"),
    "traversal": (lambda f: {**f, "images_background/../../x.png": b""}, "member named .* leads outside"),
    "absolute": (lambda f: {**f, "/x.png": b""}, "member named '/x.png' that is a link or leads outside"),
    "image": (
        lambda f: {**f, next(iter(f)): b"hello"},
        "0001_01.png' in .* is not an image that can be read",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archive(few, cache, case):
    spoil, message = BAD[case]
    write_zip(few / "images_background.zip", spoil(drawings("background")))
    with pytest.raises(ValueError, match=message):
        datasets.omniglot("train", data_dir=few)
    assert not cache.exists()


def test_oversized_drawing(few):
    files, big = drawings("background"), io.BytesIO()
    Image.new("1", (2000, 2000)).save(big, "PNG")
    write_zip(few / "images_background.zip", {**files, next(iter(files)): big.getvalue()})
    with pytest.raises(ValueError, match="has 2000 x 2000 pixels, more than"):
        datasets.omniglot("train", data_dir=few)


def test_truncated_and_missing_zip(few):
    path = few / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="images_evaluation.zip' is not a whole zip file"):
        datasets.omniglot("train", data_dir=few)
    path.unlink()
    with pytest.raises(ValueError, match="only images_background.zip is there; both halves are needed"):
        datasets.omniglot("train", data_dir=few)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`; the first `breaks` answers end half-way."""

    files, breaks, ranges = {}, 0, []

    def do_GET(self):
        data = self.files.get(self.path.rpartition("/")[2])
        if data is None:
            return self.send_error(404)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.ranges.append(start)
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        end = len(data)
        if type(self).breaks:
            type(self).breaks, end = type(self).breaks - 1, (start + len(data)) // 2
        self.wfile.write(data[start:end])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(few, monkeypatch):
    """A loopback server with the zips of `few`."""
    handler = type("H", (Handler,), {"files": {p.name: p.read_bytes() for p in few.iterdir()}, "ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(_omniglot, "URL", f"http://127.0.0.1:{running.server_port}/")
        monkeypatch.setattr(_omniglot, "SHA256", {n: hashlib.sha256(d).hexdigest() for n, d in handler.files.items()})
        yield handler
        running.shutdown()


def test_download_goes_on_where_it_broke_off(few, server, cache, capfd):
    server.breaks = 2
    data = datasets.omniglot("all", download=True)
    np.testing.assert_array_equal(data.x, datasets.omniglot("all", data_dir=few).x)
    assert server.ranges[0] == 0 and 0 < server.ranges[1] < server.ranges[2] and server.ranges[3] == 0
    assert "images_background.zip" in capfd.readouterr().out
    kept = {path.name for path in cache.iterdir()}
    assert kept >= {"images_background.zip", "images_background.zip.sha256"} and not any(
        "part" in name for name in kept
    )
    datasets.omniglot("all", download=True)
    assert len(server.ranges) == 4  # nothing is fetched twice


def test_download_continues_in_a_later_call(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "ATTEMPTS", 1)
    server.breaks = 1
    with pytest.raises(OSError, match="images_background.zip broke off 1 times. Call again to go on"):
        datasets.omniglot("all", data_dir=tmp_path / "new", download=True)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["images_background.zip.part"]
    assert len(datasets.omniglot("all", data_dir=tmp_path / "new", download=True).x) == 60


def test_damaged_download_is_removed(server, tmp_path):
    server.files["images_background.zip"] = b"something else"
    with pytest.raises(ValueError, match="has sha256 .* expected .* was removed"):
        datasets.omniglot("all", data_dir=tmp_path / "new", download=True)
    assert list((tmp_path / "new").iterdir()) == []


def test_download_that_is_not_there(server, tmp_path):
    server.files.clear()
    with pytest.raises(
        OSError, match="images_background.zip could not be fetched .*404.* fetch the file by other means"
    ):
        datasets.omniglot("all", data_dir=tmp_path, download=True)


def test_published_split():
    characters = read_characters()
    sizes = {split: sum(c.split == split for c in characters) for split in ("train", "val", "test")}
    assert sizes == {"train": 1028, "val": 172, "test": 423}
    assert len({c.name for c in characters}) == len(characters) == 1623
    assert sum(c.half == "background" for c in characters) == 964
    assert [c.name for c in characters if c.split == "test" and "Gurmukhi" in c.name] == [
        f"Gurmukhi/character{i}" for i in (42, 43, 44, 45)
    ]


@pytest.fixture(scope="module")
def read():
    """`omniglot` on the real zips, decoded once for all tests of a session."""
    if not (REAL / "images_background.zip").exists():
        pytest.skip("needs the project's shared data: shared/data/omniglot/*.zip beside the checkout")
    return partial(datasets.omniglot, data_dir=REAL)


class TestReal:
    """All 32,460 drawings."""

    def test_all_characters(self, read):
        data = read("all")
        assert data.x.shape == (32460, 28, 28, 1) and data.x.dtype == np.uint8
        assert len(set(data.names)) == 1623 and set(data.count.tolist()) == {20}
        assert len(np.unique(data.x.reshape(32460, -1), axis=0)) == 32459  # one pair of drawings is identical

    def test_splits_do_not_overlap(self, read):
        train, val, test = (set(read(split).names) for split in ("train", "val", "test"))
        assert (len(train), len(val), len(test), len(train | val | test)) == (1028, 172, 423, 1623)
        assert set(read("trainval").names) == train | val
        assert (len(read("background").names), len(read("evaluation").names)) == (964, 659)

    def test_ink_and_resizing(self, read):
        smooth, sharp = read("test").x, read("test", resize="nearest").x
        assert smooth.shape == sharp.shape and (smooth != sharp).any()
        assert set(np.unique(sharp)) == {0, 255} and len(np.unique(smooth)) > 100
        assert 0.05 < (smooth / 255).mean() < 0.12 and 0.05 < (sharp / 255).mean() < 0.12  # mostly paper: 0

    def test_agrees_with_the_list_of_the_authors(self, read):
        path = REAL.parent / "splits" / "omniglot_vinyals.json"
        if not path.exists():
            pytest.skip("needs the project's shared data: shared/data/splits/omniglot_vinyals.json")
        for split, names in json.loads(path.read_text()).items():
            assert set(read(split).names) == set(names)
