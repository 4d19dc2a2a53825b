"""Few-shot classification of sentences by intent, of a published set or your own file, by encoders from scratch."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import optax

import jaxmeta as jm

from ..datasets import ClassSplit
from ..datasets._class_splits import split_by_name
from ..experiment import Experiment, by_split, by_steps
from ..ranges import Count, Examples, OpenShare, Ways, Width
from ..recipe import recipe
from ..settings import Episodes, Inner, Memory, Outer
from ..types import ClassSet, MetaLearner, Model, Sampler

VOCABULARY = 4_096  # tokens, the most that the tokenizers trained here have

BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": jm.maml,
    "fomaml": partial(jm.maml, first_order=True),
    "anil": jm.anil,
}
BY_FEATURES: dict[str, Callable[[Model], MetaLearner]] = {
    "protonet": jm.protonet,
    "simpleshot": jm.simpleshot,
    "r2d2": jm.r2d2,
}
BY_LABELS: dict[str, Callable[[Model], MetaLearner]] = {"rfs": jm.rfs}


@recipe
def intents(
    *,
    dataset: Literal["clinc150", "banking77", "file"] = "clinc150",
    data_dir: str | None = None,
    download: bool = False,
    fold: Literal[1, 2, 3, 4, 5] = 1,
    held_out: OpenShare = 0.2,
    algorithm: Literal["protonet", "simpleshot", "r2d2", "maml", "fomaml", "anil", "rfs"] = "protonet",
    encoder: Literal["bag", "gru", "transformer"] = "gru",
    features: Width = 128,
    length: Count = 40,
    episodes: Episodes = Episodes(num_queries=5, num_test_queries=10),
    num_train_ways: Ways | None = None,
    batch_size: Examples = 64,
    inner: Inner = Inner(),
    outer: Outer = Outer(num_steps=500, tasks_per_step=4, test_tasks=200),
    memory: Memory = Memory(),
) -> Experiment:
    """Sentences by intent, few-shot: train on some intents, recognise others from a few sentences of each.

    The words are a WordPiece vocabulary of at most 4,096 tokens, trained on the training intents alone. Encoders start
    from random weights. The outer optimizer is Adam with a cosine to zero.

    Args:
      dataset: clinc150 and banking77 have five published splits of the intents; file is your own, at data_dir.
      data_dir: the folder of the published files; or your own csv, tsv or jsonl with a header (text and label), or a
        folder per intent.
      download: fetch clinc150 or banking77 (2.5 and 1.1 MB), if they are not there.
      fold: which published split.
      held_out: part of your own intents to test on, num_ways at least. Their names decide which.
      algorithm: see `jaxmeta list algorithms`; rfs learns from labels, without episodes.
      encoder: bag is the mean of the words' embeddings, gru reads both ways, transformer has two layers.
      features: width of the embeddings, and of the encoder's layers.
      length: tokens of a sentence; longer ones lose the last.
      num_train_ways: intents per task in training, by default num_ways; more help algorithms that read features.
      batch_size: sentences of a mini-batch, for algorithms that learn from labels.
    """
    moves, labels = algorithm in BY_STEPS, algorithm in BY_LABELS
    if moves and num_train_ways not in (None, episodes.num_ways):
        raise ValueError(
            f"`num_train_ways` is {num_train_ways}, but this algorithm's head has one output for each of "
            f"`num_ways` = {episodes.num_ways} intents. Leave it out, or take an algorithm that reads features."
        )
    model = jm.from_linen(_network(encoder, features, length, episodes.num_ways if moves else None))
    factory = memory.applied((BY_STEPS | BY_FEATURES | BY_LABELS)[algorithm], algorithm)
    optimizer = optax.sgd(inner.inner_lr)
    make = by_steps(partial(factory, model, jm.losses.cross_entropy, inner_optimizer=optimizer)) if moves else None
    train_ways = num_train_ways or episodes.num_ways
    by_name = ClassSplit(held_out=held_out, num_ways=episodes.num_ways, num_train_ways=2 if labels else train_ways)

    @functools.cache
    def data(split: str) -> ClassSet:
        if dataset == "file":
            return _own(data_dir, split, by_name, length)
        read = jm.datasets.clinc150 if dataset == "clinc150" else jm.datasets.banking77
        return read(split, fold=fold, length=length, data_dir=data_dir, download=download)

    def train() -> Sampler:
        if labels:
            return jm.tasks.batches(data("train"), batch_size=batch_size)
        return jm.tasks.episodes(data("train"), **episodes.layout(num_ways=train_ways))

    return Experiment(
        learner=make(num_steps=inner.num_inner_steps) if make else factory(model),
        make_learner=make,
        test_steps=inner.test_steps if make else (),
        optimizer=optax.adam(optax.cosine_decay_schedule(outer.meta_lr, outer.num_steps)),
        tasks=by_split(train=train, test=lambda: jm.tasks.episodes(data("test"), **episodes.layout(held_out=True))),
        num_steps=outer.num_steps,
        tasks_per_step=outer.tasks_per_step,
        log_every=25,
        test_tasks=outer.test_tasks,
        published="none; encoders from scratch",
    )


def _network(encoder: str, features: int, length: int, num_outputs: int | None) -> Any:
    if encoder == "bag":
        return jm.backbones.BagOfEmbeddings(VOCABULARY, features, num_outputs)
    if encoder == "gru":
        return jm.backbones.BiGRU(VOCABULARY, features, features, num_outputs)
    return jm.backbones.TransformerEncoder(VOCABULARY, features, max_length=length, num_outputs=num_outputs)


def _own(path: str | None, split: str, by_name: ClassSplit, length: int) -> ClassSet:
    """Read one part of a file of sentences; its intents are split by their names."""
    if path is None:
        raise ValueError(
            "`data_dir` is None, and the sentences are your own: pass a csv, tsv, jsonl or folder of them."
        )
    found = jm.datasets.read_texts(path)
    parts = split_by_name(set(found.labels), by_name, f"`data_dir`: {path!r}")
    known = [text for text, label in zip(*found, strict=True) if label in parts["train"]]
    tokenizer = jm.datasets.train_tokenizer(known, vocab_size=VOCABULARY)
    rows = [i for i, label in enumerate(found.labels) if label in parts[split]]
    texts, labels = ([column[i] for i in rows] for column in found)
    return jm.datasets.texts(texts, labels, tokenizer=tokenizer, length=length)
