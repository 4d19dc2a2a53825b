"""CLINC150 and BANKING77: counts, published splits, and the tokenizer that has seen no held-out intent."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from jaxmeta import datasets
from jaxmeta.datasets._intents import fetch_intents, intents_of, read_intents

SIZES = {"clinc150": (50, 50, 50), "banking77": (25, 25, 27)}


@pytest.mark.parametrize("name", list(SIZES))
def test_the_splits_are_the_published_ones(name, intents_dir):
    key = {"clinc150": "OOS", "banking77": "BANKING77"}[name]
    published = json.loads(Path(intents_dir, "splits", "intent_clinc150_banking77.json").read_text())[key]
    known = set(read_intents(name, data_dir=intents_dir / name).labels)
    for fold in range(1, 6):
        ours = intents_of(name, fold)
        for part, theirs in (("train", "train"), ("val", "valid"), ("test", "test")):
            assert set(ours[part]) == set(published[f"{fold:02}"][theirs])
        assert tuple(len(ours[part]) for part in ("train", "val", "test")) == SIZES[name]
        assert set().union(*ours.values()) == known


@pytest.mark.parametrize(("name", "sentences", "count"), [("clinc150", "test", 30), ("banking77", "test", 40)])
def test_the_authors_parts_are_kept_apart(name, sentences, count, intents_dir):
    data = datasets.load(name, "test", data_dir=intents_dir / name)
    part = getattr(datasets, name)("test", sentences=sentences, data_dir=intents_dir / name)
    assert part.names == data.names
    assert set(part.count.tolist()) == {count}
    assert (data.count > part.count).all()


def test_the_default_tokenizer_has_seen_training_intents_alone(intents_dir):
    where = intents_dir / "clinc150"
    train, test = (datasets.clinc150(split, fold=2, data_dir=where) for split in ("train", "test"))
    unknown = lambda data: np.mean((data.x["ids"] == 1).any(1))
    assert unknown(train) == 0
    assert train.x["ids"].max() < 4096
    assert test.count.sum() == 7500


def test_what_is_missing_or_unknown_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMETA_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="`split` is 'tests'; did you mean 'test'"):
        datasets.clinc150("tests")
    with pytest.raises(ValueError, match="`fold` is 6; the published splits are 1 to 5"):
        datasets.banking77("test", fold=6)
    with pytest.raises(ValueError, match="clinc150 is not in .* or pass `download=True`"):
        datasets.load("clinc150", "test")
    with pytest.raises(ValueError, match="`size` is in pixels, and clinc150 has texts"):
        datasets.load("clinc150", "test", size=8)
    (tmp_path / "data_full.json").write_text('{"train": [["hi", "greeting"]], "val": [], "test": []}')
    with pytest.raises(ValueError, match="has 1 sentences of 1 intents, but clinc150 has 22,500 of 150"):
        datasets.clinc150("test", data_dir=tmp_path)
    (tmp_path / "data_full.json").write_text('{"train": [["hi"]]')
    with pytest.raises(ValueError, match="data_full.json' is damaged"):
        datasets.clinc150("test", data_dir=tmp_path)


def test_missing_files_are_fetched_from_the_authors(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("jaxmeta.datasets._intents.fetch", lambda url, path: asked.append((url, path)))
    (tmp_path / "train.csv").write_text("")
    assert fetch_intents("banking77", tmp_path) == str(tmp_path)
    assert [(url.split("/")[3], path) for url, path in asked] == [("PolyAI-LDN", tmp_path / "test.csv")]
