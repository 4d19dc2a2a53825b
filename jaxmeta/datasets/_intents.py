"""CLINC150 and BANKING77: sentences of people to assistants, by intent, with five published splits of the intents.

Larson et al., 2019, https://aclanthology.org/D19-1131; Casanueva et al., 2020, https://arxiv.org/abs/2003.04807. The
splits are those of Dopierre, Gravier and Logerais, 2021, https://arxiv.org/abs/2105.12995.
"""

import csv
import difflib
import functools
import importlib.resources
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxmeta.types import ClassSet

from ._download import download as fetch
from ._files import local_path, places
from ._texts import Labelled, texts

PARTS = ("train", "val", "test", "all")
FOLDS = range(1, 6)
LENGTH = 40  # tokens, which no sentence of CLINC150 exceeds


class Source(NamedTuple):
    """Official files of a data set, file -> address; and how many intents and sentences they hold."""

    files: Mapping[str, str]
    num_intents: int
    num_sentences: int


SOURCES = {
    "clinc150": Source(
        {"data_full.json": "https://raw.githubusercontent.com/clinc/oos-eval/master/data/data_full.json"}, 150, 22_500
    ),
    "banking77": Source(
        {
            part: f"https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/{part}"
            for part in ("train.csv", "test.csv")
        },
        77,
        13_083,
    ),
}


def clinc150(
    split: str,
    *,
    fold: int = 1,
    sentences: str = "all",
    tokenizer: Any = None,
    length: int = LENGTH,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> ClassSet:
    """Read CLINC150 as a `ClassSet` of token ids: 150 intents in 10 domains, 150 sentences each (CC BY 3.0).

    Args:
      split: intents to read, ``"train"`` (50), ``"val"`` (50), ``"test"`` (50) or ``"all"``.
      fold: which of the five published splits of the intents, 1 to 5.
      sentences: which of each intent's sentences, by the authors' own files: ``"train"`` (100), ``"val"`` (20),
        ``"test"`` (30) or ``"all"``. Those that belong to no intent are not read.
      tokenizer, length: as for `texts`. By default a WordPiece of at most 4,096 tokens, trained on the training intents
        of the fold.
      data_dir: a folder with ``data_full.json``. By default ``$JAXMETA_DATA_DIR/clinc150``, then ``clinc150`` in the
        cache folder.
      download: fetch the missing file from the authors' repository (2.5 MB).

    Returns:
      A `ClassSet` as `texts` makes it.

    Raises:
      ValueError: if an argument is unknown; if there is no data, or it is damaged or incomplete.
      OSError: if a download fails.
      ImportError: without ``pip install 'jaxmeta[text]'``.

    Example:
      >>> from jaxmeta import datasets
      >>> test = datasets.clinc150("test", data_dir="data/clinc150")  # doctest: +SKIP
      >>> test.x["ids"].shape, len(test.names)  # doctest: +SKIP
      ((7500, 40), 50)
    """
    return _read("clinc150", split, fold, sentences, tokenizer, length, data_dir, download)


def banking77(
    split: str,
    *,
    fold: int = 1,
    sentences: str = "all",
    tokenizer: Any = None,
    length: int = 128,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> ClassSet:
    """Read BANKING77 as a `ClassSet` of token ids: 77 fine intents of bank customers, 13,083 sentences (CC BY 4.0).

    Args:
      split: intents to read, ``"train"`` (25), ``"val"`` (25), ``"test"`` (27) or ``"all"``.
      sentences: which of each intent's sentences: ``"train"`` (10,003), ``"test"`` (3,080) or ``"all"``.
      data_dir: a folder with ``train.csv`` and ``test.csv``. By default ``$JAXMETA_DATA_DIR/banking77``, then
        ``banking77`` in the cache folder.
      download: fetch missing files from the authors' repository (1.1 MB).
      fold, tokenizer, length: as for `clinc150`.

    Returns:
      A `ClassSet` as `texts` makes it.

    Raises:
      ValueError, OSError, ImportError: as `clinc150`.

    Example:
      >>> from jaxmeta import datasets
      >>> test = datasets.banking77("test", data_dir="data/banking77")  # doctest: +SKIP
      >>> test.x["ids"].shape, len(test.names)  # doctest: +SKIP
      ((4547, 128), 27)
    """
    return _read("banking77", split, fold, sentences, tokenizer, length, data_dir, download)


def read_intents(
    name: str,
    sentences: str = "all",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Labelled:
    """Read the sentences of ``"clinc150"`` or ``"banking77"`` and their intents, as `clinc150` does, as text."""
    parts = ("train", "val", "test") if name == "clinc150" else ("train", "test")
    _choose("sentences", sentences, (*parts, "all"))
    if download:
        fetch_intents(name, data_dir)
    folder = _find(name, data_dir)
    read = _clinc150 if name == "clinc150" else _banking77
    found = [read(folder, part) for part in parts]
    everything = Labelled([t for one in found for t in one.texts], [t for one in found for t in one.labels])
    source = SOURCES[name]
    if (len(set(everything.labels)), len(everything.texts)) != (source.num_intents, source.num_sentences):
        raise ValueError(
            f"`data_dir`: {str(folder)!r} has {len(everything.texts):,} sentences of {len(set(everything.labels))} "
            f"intents, but {name} has {source.num_sentences:,} of {source.num_intents}. Fetch the files again."
        )
    return everything if sentences == "all" else found[parts.index(sentences)]


def fetch_intents(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    """Download the files that are missing, and return the folder where the data is."""
    looked = places(name, data_dir)
    for place in looked:
        if all((place / file).is_file() for file in SOURCES[name].files):
            return str(place)
    for file, address in SOURCES[name].files.items():
        if not (looked[-1] / file).is_file():
            fetch(address, looked[-1] / file)
    return str(looked[-1])


@functools.cache
def intents_of(name: str, fold: int) -> dict[str, tuple[str, ...]]:
    """Map train, val and test to their intents in a published split, from the lists that come with the package."""
    text = importlib.resources.files("jaxmeta.datasets").joinpath("splits", f"{name}.json").read_text("utf-8")
    return {split: tuple(names) for split, names in json.loads(text)[str(fold)].items()}


def _read(
    name: str,
    split: str,
    fold: int,
    sentences: str,
    tokenizer: Any,
    length: int,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> ClassSet:
    _choose("split", split, PARTS)
    if fold not in FOLDS:
        raise ValueError(f"`fold` is {fold!r}; the published splits are 1 to 5.")
    found = read_intents(name, sentences, data_dir=data_dir, download=download)
    if tokenizer is None:
        tokenizer = _tokenizer(name, fold, None if data_dir is None else str(local_path(data_dir, "data_dir")))
    intents = intents_of(name, fold)
    wanted = {one for part, names in intents.items() if split in (part, "all") for one in names}
    rows = [i for i, label in enumerate(found.labels) if label in wanted]
    return texts([found.texts[i] for i in rows], [found.labels[i] for i in rows], tokenizer=tokenizer, length=length)


@functools.lru_cache(maxsize=4)
def _tokenizer(name: str, fold: int, data_dir: str | None) -> Any:
    """Train the default tokenizer, on the training intents alone."""
    from ._tokens import train_tokenizer

    found, known = read_intents(name, data_dir=data_dir), set(intents_of(name, fold)["train"])
    return train_tokenizer(text for text, label in zip(*found, strict=True) if label in known)


def _find(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    looked, source = places(name, data_dir), SOURCES[name]
    for place in looked:
        if all((place / file).is_file() for file in source.files):
            return place
    raise ValueError(
        f"`data_dir` is {None if data_dir is None else str(data_dir)!r}, and {name} is not in "
        f"{' and '.join(repr(str(place)) for place in looked)}. Put {' and '.join(source.files)} there (from "
        f"{next(iter(source.files.values()))}), or pass `download=True`."
    )


def _clinc150(folder: Path, part: str) -> Labelled:
    path = folder / "data_full.json"
    try:
        rows = json.loads(path.read_text("utf-8"))[part]
        return Labelled([str(text) for text, _ in rows], [str(intent) for _, intent in rows])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"`data_dir`: {str(path)!r} is damaged ({error!r}). Fetch it again.") from error


def _banking77(folder: Path, part: str) -> Labelled:
    path = folder / f"{part}.csv"
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8"), newline=""))
        at = header.index("text"), header.index("category")
        return Labelled([row[at[0]].strip() for row in rows], [row[at[1]] for row in rows])
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"`data_dir`: {str(path)!r} is damaged ({error!r}). Fetch it again.") from error


def _choose(argument: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"`{argument}` is {value!r}; {hint}Choose one of {', '.join(known)}.")
