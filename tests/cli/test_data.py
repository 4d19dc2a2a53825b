"""`jaxmeta data`: what it says of good and bad folders, zips and names."""

import io
import json
import os
import zipfile
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
from PIL import Image

from jaxmeta.cli import main
from jaxmeta.datasets._inspect import shown
from jaxmeta.datasets._registry import DATASETS

GROCERY = Path(__file__).parents[3] / "shared" / "data" / "grocery"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is looked for or left elsewhere."""
    import jax

    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def encoded(width=6, height=4, kind="PNG", value=0):
    file = io.BytesIO()
    image = Image.new("RGB", (width, height), (value, 100, 0))
    image.putpixel((0, 0), (255, 255, 255))  # an image of one colour would be a problem
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture
def photos(tmp_path):
    """train: 5 classes of 20 images and more; test: 2 classes, one of 3 images of another shape."""
    folder = tmp_path / "photos"
    counts = {f"train/c{i}": 20 + i for i in range(5)} | {"test/deep/a": 25, "test/b": 3}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.png").write_bytes(encoded(9 if name == "test/b" else 6, value=i))
    return folder


def fails(capsys, *args):
    assert main(["data", *map(str, args)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("jaxmeta: error: ") and said.err.count("\n") == 1, said
    return said.err


def described(capsys, *args):
    assert main(["data", "describe", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_describe(photos, capsys):
    about = described(capsys, photos)
    train, test = about["parts"]
    assert (train["part"], train["classes"], train["images"], train["episodes"]) == ("train", 5, 110, True)
    assert train["images_per_class"] == {"min": 20, "median": 22.0, "max": 24}
    assert (test["part"], test["classes"], test["classes_large_enough"], test["episodes"]) == ("test", 2, 1, False)
    assert about["shapes"] == [{"shape": [4, 6, 3], "images": 135}, {"shape": [4, 9, 3], "images": 3}]
    assert about["bytes"] == 135 * 72 + 3 * 108 and about["problems"] == 0 and about["held_out"] is None
    assert described(capsys, photos, "--root", "train")["parts"][0]["part"] == ""
    assert main(["data", "describe", str(photos)]) == 0
    said = capsys.readouterr().out
    assert "135 of 4 x 6 x 3, 3 of 4 x 9 x 3" in said and "9.8 KiB" in said


def one_folder(tmp_path):
    folder = tmp_path / "one"
    for c in range(11):
        (folder / f"c{c}").mkdir(parents=True)
        for i in range(20):
            (folder / f"c{c}" / f"{i}.png").write_bytes(encoded(16, 16, value=i))
    return folder


def test_one_folder_of_classes(tmp_path, capsys):
    folder = one_folder(tmp_path)
    assert main(["data", "check", str(folder)]) == 0
    about = described(capsys, folder) if capsys.readouterr() else {}
    assert (about["parts"][0]["part"], about["parts"][0]["classes"]) == ("", 11) and len(about["held_out"]) == 5
    names = ", ".join(about["held_out"])
    assert main(["data", "describe", str(folder)]) == 0
    assert f"`jaxmeta train photographs` holds out 5 classes to test on: {names}" in capsys.readouterr().out
    for c in range(2):
        rmtree(folder / f"c{c}")
    assert described(capsys, folder)["held_out"] is None  # too few
    fails_to_train = ["train", "photographs", "--data-dir", str(folder), "--out", str(tmp_path / "more")]
    assert main(fails_to_train) == 2 and "has 9 classes and no folders train and test" in capsys.readouterr().err


@pytest.mark.slow
def test_training_holds_out_the_classes_that_were_described(tmp_path, capsys):
    folder = one_folder(tmp_path)
    names = ", ".join(described(capsys, folder)["held_out"])
    small = ["--size", "16", "--features", "4", "--num-steps", "1", "--test-tasks", "2", "--out", str(tmp_path / "run")]
    assert main(["train", "photographs", "--data-dir", str(folder), *small]) == 0
    assert f"of 11 classes 5 are held out, to test on {names}\n" in capsys.readouterr().out


def test_check_says_all_that_is_wrong_at_once(photos, capsys):
    assert main(["data", "check", str(photos)]) == 0
    assert "138 images can be read, 0 problems" in capsys.readouterr().out
    (photos / "train" / "c0" / "notes.txt").write_text("hello")
    (photos / "train" / "c1" / "3.png").write_bytes(encoded(60, 60)[:90])
    (photos / "alone.jpg").write_bytes(encoded())
    (photos / "empty").mkdir()
    Image.fromarray(np.full((4, 6), 4096, np.uint16)).save(photos / "train" / "c2" / "0.png")
    assert main(["data", "check", str(photos)]) == 2
    said = capsys.readouterr().out
    for text in (
        "notes.txt' in", "is not an image file", "'train/c1/3.png' in", "is damaged or cut short", "'alone.jpg' in",
        "is in no class folder", "folder 'empty/' in", "more than 8 bits per channel",
        "136 images can be read, 5 problems",
    ):  # fmt: skip
        assert text in said, text
    assert main(["data", "check", str(photos), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 5
    assert main(["data", "describe", str(photos)]) == 0
    assert "5 problems, which `jaxmeta data check" in capsys.readouterr().out


def test_many_problems_are_counted(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for i in range(30):
            archive.writestr(f"c/{i}.png", b"no image")
    assert main(["data", "check", str(tmp_path / "bad.zip")]) == 2
    said = capsys.readouterr().out
    assert said.count("is not an image that can be read") == 20 and "... and 10 more" in said
    assert "0 images can be read, 30 problems" in said and " object at 0x" not in said


@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed there")
def test_names_cannot_steer_a_terminal(tmp_path, capsys):
    odd = "a\x1b[31m[bold]$x$"
    for name, data in ((f"{odd}/1.png", encoded()), (f"{odd}/2.png", b"no image")):
        (tmp_path / "odd" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "odd" / name).write_bytes(data)
    assert main(["data", "check", str(tmp_path / "odd")]) == 2
    assert "\x1b" not in capsys.readouterr().out
    (tmp_path / "odd" / odd / "2.png").unlink()
    assert main(["data", "preview", str(tmp_path / "odd"), "--out", str(tmp_path / "odd.png")]) == 0
    assert shown(odd) == "a\\x1b[31m[bold]$x$" and len(shown("x" * 999)) == 60


def test_preview(photos, capsys, tmp_path):
    out = tmp_path / "grid.png"
    call = ["preview", photos, "--out", out, "--num-classes", "3", "--num-images", "4"]
    assert main(["data", *map(str, call)]) == 0
    picture = np.asarray(Image.open(out).convert("RGB"))
    green = (picture[..., 1] > 80) & (picture[..., 1] < 120) & (picture[..., 2] < 60)
    assert 350 < picture.shape[1] < 400 and green.sum() > 3 * 3 * 84 * 40  # a third of each square tile stays white
    assert "nothing is overwritten" in fails(capsys, *call)
    assert "is no name of a PNG" in fails(capsys, "preview", photos, "--out", tmp_path / "grid.txt")
    assert "`--num-classes` must be from 1 to 100, got 0" in fails(
        capsys, "preview", photos, "--out", tmp_path / "b.png", "--num-classes", "0"
    )


def test_words_that_are_wrong(photos, capsys, tmp_path):
    assert "did you mean 'describe'?" in fails(capsys, "describ", photos)
    assert "nowhere/here' does not exist" in fails(capsys, "check", tmp_path / "nowhere" / "here")
    assert "are for data sets by name" in fails(capsys, "check", photos, "--split", "train")
    assert "`--root` is a sub-folder" in fails(capsys, "check", "omniglot", "--root", "x")
    assert "Omniglot is not in" in fails(capsys, "check", "omniglot")
    assert "miniimagenet may not be fetched by a program" in fails(capsys, "fetch", "miniimagenet")
    assert "is here already; `jaxmeta data check`" in fails(capsys, "fetch", photos)
    assert "did you mean 'omniglot'" in fails(capsys, "check", "omniglott")
    (tmp_path / "nothing").mkdir()
    assert "holds no images" in fails(capsys, "preview", tmp_path / "nothing", "--out", tmp_path / "c.png")
    assert main(["data"]) == main(["data", "check", "--help"]) == 0
    assert "jaxmeta data fetch NAME" in capsys.readouterr().out


def test_fetch(monkeypatch, capsys):
    """Which function fetches; that these fetch is tested where they are."""
    calls = []
    row = DATASETS["omniglot"]._replace(fetch=lambda data_dir: calls.append(data_dir) or "here")
    monkeypatch.setitem(DATASETS, "omniglot", row)
    for module in ("_registry", "_published"):
        monkeypatch.setattr(f"jaxmeta.datasets.{module}.prepare", lambda *a: calls.append(a) or "there")
    assert main(["data", "fetch", "omniglot", "--data-dir", "here"]) == 0
    assert "omniglot: in here" in capsys.readouterr().out
    assert main(["data", "fetch", "cub"]) == main(["data", "fetch", "mnist", "--data-dir", "x"]) == 0
    assert calls == ["here", ("caltech_birds2011", None), ("mnist", "x")]
    assert "cub: in there" in capsys.readouterr().out


def test_grocery_by_name(capsys, tmp_path):
    if not GROCERY.is_dir():
        pytest.skip("needs the project's shared data: shared/data/grocery beside the checkout")
    about = described(capsys, "grocery", "--data-dir", GROCERY, "--split", "test")
    assert [part["part"] for part in about["parts"]] == ["test"] and about["parts"][0]["episodes"]
    assert about["shapes"] == [{"shape": [84, 84, 3], "images": 1388}]
