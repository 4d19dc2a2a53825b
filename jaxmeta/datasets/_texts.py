"""Make class sets from labelled texts: lists, csv, tsv, jsonl, or a folder per class. Letters: M texts, L tokens."""

import csv
import io
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.types import ClassSet

from ._arrays import from_arrays
from ._files import MAX_BYTES, local_path, open_tree
from ._tokens import MAX_CHARACTERS, check_texts, encode

TEXT_COLUMNS = ("text", "sentence", "utterance", "query")
LABEL_COLUMNS = ("label", "category", "intent", "class")


class Labelled(NamedTuple):
    """Texts ``[M]`` and their labels ``[M]``."""

    texts: list[str]
    labels: list[str]


def texts(texts: Sequence[str], labels: Sequence[Any], *, tokenizer: Any, length: int) -> ClassSet:
    """Make a `ClassSet` of token ids from texts and their labels, sorted by class.

    A text of more than ``length`` tokens loses its last ones, and a warning counts such texts.

    Args:
      texts: M texts.
      labels: M labels, strings or integers.
      tokenizer: a `tokenizers.Tokenizer` (`train_tokenizer`, ``jm.pretrained.bert(...).tokenizer``), or the path of a
        ``tokenizer.json``. Train it on training classes only.
      length: L, tokens of a row.

    Returns:
      A `ClassSet`, ``x = {"ids": int32 [M, L], "length": int32 [M]}``: ids at ``length`` and beyond are padding.

    Raises:
      ValueError: if there are no texts, one is empty or has more than 100,000 characters, or the lengths differ.
      TypeError: for a text that is no string.
      ImportError: without ``pip install 'jaxmeta[text]'``.

    Example:
      >>> from jaxmeta import datasets
      >>> said, intents = ["pay my bill", "what time is it", "pay the rent"], ["pay", "time", "pay"]
      >>> tokenizer = datasets.train_tokenizer(said, vocab_size=100)
      >>> data = datasets.texts(said, intents, tokenizer=tokenizer, length=8)
      >>> data.names, data.count.tolist(), data.x["ids"].shape, data.x["length"].tolist()
      (('pay', 'time'), [2, 1], (3, 8), [5, 5, 6])
    """
    kept = check_texts(texts, "texts")
    if len(labels) != len(kept):
        raise ValueError(f"`labels` has {len(labels)} entries for {len(kept)} texts; each text needs one.")
    tokens = encode(kept, tokenizer, length)
    if tokens.num_cut:
        warnings.warn(
            f"`length`: {tokens.num_cut} of {len(kept)} texts have more than {length} tokens, and lose the last ones.",
            stacklevel=2,
        )
    return from_arrays({"ids": tokens.ids, "length": tokens.length}, np.asarray(labels))


def read_texts(
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    label: str | None = None,
    classes: Iterable[str] | None = None,
) -> Labelled:
    """Read labelled texts from a file, or a folder or zip of one.

    Args:
      path: ``.csv`` or ``.tsv`` with a header, ``.jsonl`` (an object a line), or a folder or zip with a folder per
        class and a text per file (``class/*.txt``).
      text, label: the names of the columns. By default the first of ``text``, ``sentence``, ``utterance``, ``query``
        that is there, and of ``label``, ``category``, ``intent``, ``class``.
      classes: the labels that may occur; by default any.

    Returns:
      `Labelled`: ``datasets.texts(*read_texts(path), tokenizer=..., length=...)`` makes a `ClassSet` of it.

    Raises:
      ValueError: if the file is missing or damaged; for a header without the columns, a row without a text or label, an
        unknown label, a text of more than 100,000 characters: naming the row.

    Example:
      >>> import pathlib, tempfile
      >>> from jaxmeta import datasets
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "few.csv")
      ...     _ = file.write_text("text,intent" + chr(10) + "pay my bill,pay" + chr(10))
      ...     datasets.read_texts(file)
      Labelled(texts=['pay my bill'], labels=['pay'])
    """
    where, name = local_path(path, "path"), f"`path`: {os.fspath(path)!r}"
    suffix = where.suffix.lower()
    if where.is_dir() or suffix == ".zip":
        found = _from_folder(where)
    elif suffix not in (".csv", ".tsv", ".jsonl"):
        raise ValueError(f"{name} is no .csv, .tsv, .jsonl, folder or zip. Texts are read from these.")
    else:
        content = _content(where, name)
        rows = _json_rows(content, name) if suffix == ".jsonl" else _table_rows(content, name, suffix)
        found = _columns(rows, name, text, label)
    if not found.texts:
        raise ValueError(f"{name} has no rows: there is nothing to learn from.")
    if classes is not None:
        _check_known(found.labels, list(classes), name)
    return found


def _content(path: Path, name: str) -> str:
    if not path.is_file():
        raise ValueError(f"{name} does not exist, or is no regular file. Check the path.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{name} has more than {MAX_BYTES} bytes. Split it.")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}).") from error


def _table_rows(content: str, name: str, suffix: str) -> list[tuple[int, dict[str, Any]]]:
    """Read the rows of a csv or tsv as (line, {column: value})."""
    csv.field_size_limit(MAX_BYTES)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
    try:
        header = next(reader, [])
        rows: list[tuple[int, dict[str, Any]]] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"{name}, line {reader.line_num}: {len(row)} cells, but the header has {len(header)}. Put quotes "
                    "around a text that has the separator in it."
                )
            rows.append((reader.line_num, dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}. Is a quote missing?") from error
    if not rows and header:
        rows = [(1, dict.fromkeys(header, ""))] if not _known_column(header) else []
    return rows


def _json_rows(content: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}, line {number}: no JSON ({error}). Each line holds one object.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{name}, line {number}: {line[:40]!r} is no JSON object.")
        rows.append((number, row))
    return rows


def _columns(rows: Sequence[tuple[int, dict[str, Any]]], name: str, text: str | None, label: str | None) -> Labelled:
    """Pick the two columns of the rows, which are all there and filled."""
    header = list(rows[0][1]) if rows else []
    text = _column(header, text, TEXT_COLUMNS, name, "text") if rows else ""
    label = _column(header, label, LABEL_COLUMNS, name, "label") if rows else ""
    found = Labelled([], [])
    for number, row in rows:
        for column in (text, label):
            value = row.get(column)
            if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
                raise ValueError(
                    f"{name}, line {number}: {column!r} is {str(value)[:40]!r}, but must have text. Fill it, or drop "
                    "the row."
                )
        if len(str(row[text])) > MAX_CHARACTERS:
            raise ValueError(
                f"{name}, line {number}: the text has {len(row[text]):,} characters, more than {MAX_CHARACTERS:,}. Is "
                "a quote or a line end missing?"
            )
        found.texts.append(str(row[text]))
        found.labels.append(str(row[label]).strip())
    return found


def _column(header: Sequence[str], given: str | None, known: Sequence[str], name: str, argument: str) -> str:
    if given is not None and given not in header:
        raise ValueError(f"`{argument}` is {given!r}, but the columns are {', '.join(header)[:200]}; {name}.")
    found = next((column for column in known if column in header), None) if given is None else given
    if found is None:
        raise ValueError(
            f"{name} has no column {' or '.join(known)}: its first line is {', '.join(header)[:120]!r}. A first line "
            f"with the names of the columns is needed; or name the column: `{argument}=...`."
        )
    return found


def _known_column(header: Sequence[str]) -> bool:
    return not {*header}.isdisjoint((*TEXT_COLUMNS, *LABEL_COLUMNS))


def _check_known(labels: Sequence[str], classes: Sequence[str], name: str) -> None:
    for i, label in enumerate(labels):
        if label not in classes:
            shown = ", ".join(classes[:8]) + (" ..." if len(classes) > 8 else "")
            raise ValueError(f"{name}, text {i + 1}: the label {label[:60]!r} is unknown. The labels are {shown}.")


def _from_folder(path: Path) -> Labelled:
    found = Labelled([], [])
    with open_tree(path, "path") as tree:
        for file in tree.names:
            if file.endswith("/"):
                continue
            folder = PurePosixPath(file).parent
            if PurePosixPath(file).suffix.lower() != ".txt" or folder == PurePosixPath("."):
                raise ValueError(f"`path`: {file!r} in {str(path)!r} is not class/*.txt. Remove it, or move it.")
            try:
                content = tree.read(file).decode("utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"`path`: {file!r} in {str(path)!r} is not UTF-8 text. Save it as UTF-8.") from error
            found.texts.extend(check_texts([content], f"path: {file}"))
            found.labels.append(folder.as_posix())
    return found
