"""``jaxmeta adapt``: two folders in, predictions out; every mistake says what to do."""

import csv
import json
import os

import numpy as np
import pytest
from nets import start_of_run
from PIL import Image

import jaxmeta as jm
from jaxmeta.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return start_of_run(tmp_path_factory.mktemp("run"), "glyphs_maml", features=8)


@pytest.fixture(autouse=True)
def photographs(tmp_path, monkeypatch):
    """Squares and stripes, to learn from and to recognise, larger than the run's images and in colour."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, number in (("support", 3), ("query", 4)):
        for name in ("square", "stripes"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(number):
                image = rng.integers(0, 40, (40, 40, 3)).astype(np.uint8)
                image[slice(8, 32) if name == "square" else slice(0, None, 8), 8:32] += 200
                Image.fromarray(image).save(tmp_path / part / name / f"{i}.png")


def adapt(run, *flags, support="support", predict="query"):
    return main(["adapt", str(run), "--support", support, "--predict", predict, *flags])


def test_from_two_folders_to_predictions(run, tmp_path, capsys):
    assert adapt(run) == 0
    said = capsys.readouterr().out
    assert "precision" in said and "predictions-1.csv" in said
    assert ", chance 50.0 %, nearest neighbour on pixels 100.0 %" in said  # both parts are drawn alike
    rows = list(csv.DictReader((tmp_path / "predictions-1.csv").open()))
    assert [row["file"] for row in rows][:2] == ["square/0.png", "square/1.png"] and len(rows) == 8
    p = [float(rows[0][f"probability of {name}"]) for name in ("square", "stripes")]
    assert sum(p) == pytest.approx(1, abs=1e-5)
    assert rows[0]["predicted"] == ("square", "stripes")[int(np.argmax(p))]
    assert adapt(run) == 0 and (tmp_path / "predictions-2.csv").exists()


def test_the_predictions_are_the_estimators(run, capsys):
    assert adapt(run, "--json", "--out", "p.json", "--invert", "--batch-size", "8") == 0
    found = json.loads(capsys.readouterr().out)
    look = {"size": 28, "color": "gray"}
    known, asked = (jm.datasets.from_folder(part, **look) for part in ("support", "query"))
    classifier = jm.FewShotClassifier.load(run).fit(255 - known.x, np.repeat(known.names, known.count))
    expected = classifier.predict_proba(255 - asked.x)
    for row, p in zip(found["predictions"], expected, strict=True):
        assert list(row["probabilities"].values()) == pytest.approx(p.tolist(), abs=1e-5)
    assert found["accuracy"] == np.mean(classifier.predict(255 - asked.x) == np.repeat(asked.names, asked.count))
    assert (found["chance"], found["nearest neighbour on pixels"]) == (0.5, 1.0)


def test_a_prediction_does_not_depend_on_the_other_files(run, tmp_path):
    assert adapt(run, "--out", "together.csv") == 0
    for file in sorted((tmp_path / "query").rglob("*.png")):
        if file.name != "1.png":
            file.unlink()
    assert adapt(run, "--out", "apart.csv") == 0
    together, apart = (list(csv.DictReader(open(name))) for name in ("together.csv", "apart.csv"))
    names = ("square", "stripes")
    p = lambda rows: [[float(row[f"probability of {n}"]) for n in names] for row in rows if "1.png" in row["file"]]
    assert np.asarray(p(together)) == pytest.approx(np.asarray(p(apart)), abs=2e-6)


def test_no_cell_is_a_formula(run, tmp_path):
    (tmp_path / "support" / "stripes").rename(tmp_path / "support" / "@SUM(1)")
    for i, name in enumerate(("=1+1.png", "+1.png", "-1.png", "@a.png")):
        (tmp_path / "query" / "square" / f"{i}.png").rename(tmp_path / "query" / name)
    assert adapt(run, "--out", "p.csv") == 0
    cells = [cell for row in csv.reader(open("p.csv")) for cell in row]
    assert {"'=1+1.png", "'+1.png", "'-1.png", "'@a.png"} <= set(cells)
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@"))]
    assert [cell for cell in cells if "@SUM" in cell][0] == "probability of @SUM(1)"


def test_images_without_labels_get_no_report(run, tmp_path, capsys):
    for file in sorted((tmp_path / "query" / "square").iterdir()):
        file.rename(tmp_path / "query" / f"{file.name}")
    assert adapt(run, "--out", "p.csv") == 0
    assert "precision" not in capsys.readouterr().out
    assert {row["file"] for row in csv.DictReader((tmp_path / "p.csv").open())} >= {"0.png", "stripes/0.png"}


def test_what_was_adapted_is_kept(run, tmp_path, capsys):
    assert adapt(run, "--save", "mine", "--export", "mine.jax") == 0
    said = capsys.readouterr().out
    assert "classifier: jaxmeta.FewShotClassifier.load('mine')" in said and "program: mine.jax, which" in said
    again = jm.FewShotClassifier.load("mine")
    assert again.classes_.tolist() == ["square", "stripes"] and (tmp_path / "mine.jax").stat().st_size > 1000
    assert adapt("mine") == 0  # adapts to the folder anew
    assert main(["adapt", "mine", "--predict", "query", "--out", "again.csv"]) == 0  # or has learned already
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "predictions-1.csv").read_text()
    assert main(["adapt", str(run), "--predict", "query"]) == 2
    assert "has not learned any classes yet. Pass a folder" in capsys.readouterr().err
    assert adapt(run, "--save", "mine") == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_names_are_shown_and_written_as_they_are(run, tmp_path, capsys):
    """No file's name moves the cursor or becomes a picture, and one that is no text is written all the same."""
    for i, name in enumerate((b"a:heart:.png", b"\x1b[31mred.png", b"caf\xe9.png")):
        (tmp_path / "query" / "square" / f"{i}.png").rename(
            os.fsdecode(os.fsencode(tmp_path / "query/square") + b"/" + name)
        )
    assert adapt(run, "--out", "p.csv") == 0
    said = capsys.readouterr().out
    assert "square/a:heart:.png" in said and "\x1b[31m" not in said and "\\x1b[31mred.png" in said
    assert {"square/caf\\udce9.png", "square/\x1b[31mred.png"} <= {r["file"] for r in csv.DictReader(open("p.csv"))}
    assert adapt(run, "--json", "--out", "p.json") == 0
    for text in (capsys.readouterr().out, (tmp_path / "p.json").read_text()):
        assert "square/caf\udce9.png" in [row["file"] for row in json.loads(text)["predictions"]]


def test_two_outputs_of_one_name(run, tmp_path, capsys):
    assert adapt(run, "--out", "p.csv", "--export", "p.csv") == 2
    assert "`--export`: 'p.csv' is the same as `--out`" in capsys.readouterr().err and not (tmp_path / "p.csv").exists()


def test_mistakes_say_what_to_do(run, tmp_path, capsys):
    assert adapt(run, support="nowhere") == 2
    assert "`--support`: 'nowhere' does not exist. Check the path." in capsys.readouterr().err
    assert adapt("support") == 2
    assert "not a run folder" in capsys.readouterr().err
    (tmp_path / "query" / "notes.txt").write_text("hello")
    assert adapt(run) == 2
    assert "`--predict`: 'notes.txt' in 'query' is not an image file. Remove it" in capsys.readouterr().err
    for i in range(4):
        (tmp_path / "support" / f"more{i}").mkdir()
        Image.new("L", (9, 9)).save(tmp_path / "support" / f"more{i}" / "a.png")
    assert adapt(run) == 2
    assert "6 classes, but this learner's head has 5 outputs. Choose fewer classes" in capsys.readouterr().err
    assert not list(tmp_path.glob("predictions*"))


def test_a_run_on_numbers_is_refused(tmp_path, capsys):
    (tmp_path / "waves").mkdir()
    assert adapt(start_of_run(tmp_path / "waves", "sinusoid_maml", hidden=8)) == 2
    assert "FewShotRegressor" in capsys.readouterr().err
