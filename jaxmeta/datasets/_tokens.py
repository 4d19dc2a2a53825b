"""Text to token ids with the `tokenizers` library. Letters: M texts, L tokens."""

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ._files import local_path

MAX_TOKENIZER = 1 << 26  # bytes of a tokenizer.json
MAX_CHARACTERS = 100_000  # of one text
MAX_LENGTH = 1 << 16  # tokens of one text
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class Tokens(NamedTuple):
    """Token ids of texts.

    Attributes:
      ids: int32 ``[M, L]``, padded at the end.
      length: int32 ``[M]``, the tokens of each text; what follows is padding.
      num_cut: the number of texts that had more than L tokens.
    """

    ids: np.ndarray
    length: np.ndarray
    num_cut: int


def read_tokenizer(path: str | os.PathLike[str]) -> Any:
    """Read a ``tokenizer.json``, or the one in a folder; its own padding and truncation are turned off.

    Args:
      path: the file, or a folder that holds it.

    Returns:
      A `tokenizers.Tokenizer`.

    Raises:
      ValueError: if the file is missing, too large or damaged.
      ImportError: without ``pip install 'jaxmeta[text]'``.
    """
    file = local_path(path, "tokenizer")
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise ValueError(f"`tokenizer`: {str(file)!r} is not there. Pass a tokenizer.json, or a folder that holds one.")
    if file.stat().st_size > MAX_TOKENIZER:
        raise ValueError(f"`tokenizer`: {str(file)!r} is larger than {MAX_TOKENIZER} bytes; it is no tokenizer.json.")
    try:
        tokenizer = _library().Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:  # the library raises bare Exceptions
        raise ValueError(f"`tokenizer`: {str(file)!r} is no tokenizer.json ({error}). Fetch it again.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def train_tokenizer(
    texts: Iterable[str], *, kind: Literal["wordpiece", "bpe"] = "wordpiece", vocab_size: int = 4096
) -> Any:
    """Train a tokenizer on texts: those of the training classes alone, or held-out words are known beforehand.

    Text is lower-cased and split at spaces and punctuation. A text becomes ``[CLS] ... [SEP]``; ``[PAD]`` has id 0.

    Args:
      texts: the texts.
      kind: ``"wordpiece"`` (Schuster and Nakajima, 2012, as in BERT) or ``"bpe"`` (Sennrich et al., 2016,
        https://arxiv.org/abs/1508.07909).
      vocab_size: the most tokens that it may have.

    Returns:
      A `tokenizers.Tokenizer`; its ``save(path)`` writes a ``tokenizer.json``.

    Raises:
      ValueError: if there is no text, or ``kind`` or ``vocab_size`` is unknown or too small.

    Example:
      >>> from jaxmeta import datasets
      >>> tokenizer = datasets.train_tokenizer(["pay my bill", "pay the rent"], vocab_size=64)
      >>> tokenizer.encode("pay the bill").tokens
      ['[CLS]', 'pay', 'the', 'bill', '[SEP]']
    """
    library = _library()
    if kind not in ("wordpiece", "bpe"):
        raise ValueError(f"`kind` must be 'wordpiece' or 'bpe', got {kind!r}.")
    if type(vocab_size) is not int or vocab_size <= len(SPECIAL):
        raise ValueError(f"`vocab_size` must be a whole number above {len(SPECIAL)}, got {vocab_size!r}.")
    kept = check_texts(texts, "texts")
    model, trainer = (
        (library.models.WordPiece(unk_token="[UNK]"), library.trainers.WordPieceTrainer)
        if kind == "wordpiece"
        else (library.models.BPE(unk_token="[UNK]"), library.trainers.BpeTrainer)
    )
    tokenizer = library.Tokenizer(model)
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        kept, trainer(vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False), len(kept)
    )
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return tokenizer


def encode(texts: Sequence[str], tokenizer: Any, length: int) -> Tokens:
    """Tokenise texts to ``length`` ids each; longer texts lose their last tokens, special ones excepted.

    Args:
      texts: the texts, checked.
      tokenizer: a `tokenizers.Tokenizer`, or the path of one; it stays as it is.
      length: L.

    Raises:
      ValueError: if ``length`` is no whole number from 1; as `read_tokenizer`.
      TypeError: if ``tokenizer`` is neither.
    """
    if type(length) is not int or not 1 <= length <= MAX_LENGTH:
        raise ValueError(f"`length`, in tokens, must be a whole number from 1 to {MAX_LENGTH}, got {length!r}.")
    if isinstance(tokenizer, str | Path):
        tokenizer = read_tokenizer(tokenizer)
    if not isinstance(tokenizer, _library().Tokenizer):
        raise TypeError(
            f"`tokenizer` must be a `tokenizers.Tokenizer` or the path of a tokenizer.json, got "
            f"{type(tokenizer).__name__}. `datasets.train_tokenizer(texts)` makes one."
        )
    cutting = _library().Tokenizer.from_str(tokenizer.to_str())
    cutting.no_padding()
    least = len(cutting.encode("").ids)
    if length <= least:
        raise ValueError(f"`length` is {length}, but the tokenizer adds {least} tokens to each text. Pass more.")
    cutting.enable_truncation(length)
    found = cutting.encode_batch(list(texts))
    ids = np.full((len(found), length), pad_id(tokenizer), np.int32)
    for row, one in enumerate(found):
        ids[row, : len(one.ids)] = one.ids
    return Tokens(ids, np.array([len(one.ids) for one in found], np.int32), sum(bool(one.overflowing) for one in found))


def pad_id(tokenizer: Any) -> int:
    """Return the id that fills rows: that of ``[PAD]`` or ``<pad>``, else 0. No output depends on it."""
    known = (tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>"))
    return next((token for token in known if token is not None), 0)


def check_texts(texts: Iterable[Any], argument: str) -> list[str]:
    """Return the texts as a list.

    Raises:
      TypeError: for a single string, or an entry that is no string.
      ValueError: if there is no text, or one is empty or too long.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"`{argument}` must be a list of texts, got one {type(texts).__name__}. Pass `[text]`.")
    kept = list(texts)
    if not kept:
        raise ValueError(f"`{argument}` is empty: a data set needs at least one text.")
    for i, text in enumerate(kept):
        if not isinstance(text, str):
            raise TypeError(f"`{argument}[{i}]` must be a string, got {type(text).__name__} {str(text)[:40]!r}.")
        if not text.strip():
            raise ValueError(f"`{argument}[{i}]` is empty: there is nothing to learn from it. Drop such rows.")
        if len(text) > MAX_CHARACTERS:
            raise ValueError(
                f"`{argument}[{i}]` has {len(text):,} characters, more than {MAX_CHARACTERS:,}: it begins with "
                f"{text[:40]!r}. Is a quote or a line end missing? Split it into texts."
            )
    return [str(text) for text in kept]


def _library() -> Any:
    try:
        return import_module("tokenizers")
    except ImportError as error:
        raise ImportError("Text needs the tokenizers library: pip install 'jaxmeta[text]'.") from error
