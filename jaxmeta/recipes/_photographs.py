"""Few-shot classification of photographs, of one's own or of groceries, by the usual algorithms on two backbones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optax

import jaxmeta as jm

from ..datasets import ClassSplit
from ..datasets._class_splits import explain
from ..experiment import Experiment, by_split, by_steps
from ..types import ClassSet, MetaLearner, Model, Sampler
from ._figures import published
from ._knobs import Dtype, Remat, compute_dtype, recomputing

SGD = {"inner_optimizer": optax.sgd(0.01)}

# Those that move the weights of a network with a head; those that read its features; those that learn a classifier of
# all training classes first.
BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": partial(jm.maml, **SGD),
    "fomaml": partial(jm.maml, first_order=True, **SGD),
    "anil": partial(jm.anil, **SGD),
}
BY_FEATURES: dict[str, Callable[[Model], MetaLearner]] = {
    "protonet": jm.protonet,
    "simpleshot": jm.simpleshot,
    "relation": jm.relation,
    "r2d2": jm.r2d2,
    "metaoptnet": jm.metaoptnet,
}
BY_LABELS: dict[str, Callable[[Model], MetaLearner]] = {
    "baseline": jm.baseline,
    "baseline_plus_plus": jm.baseline_plus_plus,
    "rfs": jm.rfs,
}
Algorithm = Literal[
    "protonet", "simpleshot", "relation", "r2d2", "metaoptnet",
    "maml", "fomaml", "anil", "baseline", "baseline_plus_plus", "rfs",
]  # fmt: skip
Dataset = Literal["folder", "grocery", "cifar_fs", "fc100", "miniimagenet", "tieredimagenet", "cub"]


def photographs(
    *,
    dataset: Dataset = "folder",
    data_dir: str | None = None,
    download: bool = False,
    size: int | None = None,
    held_out: float = 0.2,
    algorithm: Algorithm = "protonet",
    backbone: Literal["conv4", "resnet12"] = "conv4",
    features: int = 64,
    remat: Remat = 0,
    dtype: Dtype = "float32",
    num_steps: int = 5_000,
    num_ways: int = 5,
    num_train_ways: int | None = None,
    num_shots: int = 5,
    num_queries: int = 10,
    num_test_queries: int = 15,
    tasks_per_step: int = 1,
    batch_size: int = 64,
    flip: bool = True,
    crop: float = 0.6,
    jitter: float = 0.4,
    num_inner_steps: int = 5,
    num_test_steps: int = 10,
    meta_lr: float = 1e-3,
    weight_decay: float = 5e-4,
    eval_every: int | None = None,
    eval_tasks: int = 100,
    test_tasks: int = 600,
) -> Experiment:
    """Photographs, few-shot: train on some classes, recognise others from a few examples of each.

    One's own are folders named after their classes, split by folders `train`, `val` and `test` or, without these,
    by name. Adam with a cosine to zero; Conv4 has max-pooling. Algorithms that move weights normalise with the
    batch's statistics (transductive), the others with running averages. Training images are mirrored, cropped and
    relit at random, held-out ones are not.

    Args:
      dataset: folder is one's own photographs; grocery is a set of 81 groceries, its test classes of other kinds; the
        others have published splits.
      data_dir: of one's own, a folder or zip with a folder of images per class, at any depth; these may be in folders
        train, test and, to validate, val. Of the others, where their files are: see
        `jaxmeta.datasets.grocery` and `jaxmeta.datasets.published_split`.
      download: let TFDS fetch cifar_fs, fc100 or cub, if they are not there.
      size: height and width in pixels, to which images are resized; by default 32 for cifar_fs and fc100, else 84.
      held_out: part of one's own classes to test on, and as many to validate, where there are no folders train and
        test; num_ways at least. Their names decide which: after adding classes, train anew.
      algorithm: see `jaxmeta list algorithms`; the last three learn from labels, without episodes.
      backbone: conv4 has four convolutions, resnet12 twelve in four residual blocks.
      features: channels of the first block; conv4 has as many throughout, resnet12 2.5, 5 and 10 times as many in the
        others. On a CPU, 16 make resnet12 affordable.
      num_steps: meta-steps of training.
      num_ways: classes per task.
      num_train_ways: classes per task in training, by default num_ways; more help algorithms that read features.
      num_shots: support images per class.
      num_queries: query images per class, in training.
      num_test_queries: query images per class, on held-out classes.
      tasks_per_step: tasks in a meta-batch; mini-batches, for algorithms that learn from labels.
      batch_size: images of a mini-batch, for those.
      flip: mirror half of the training images; not where left and right matter.
      crop: smallest part of height and width that is seen of a training image; 1 leaves them whole.
      jitter: largest change of saturation, contrast and brightness of training images, as a part of them.
      num_inner_steps: steps of adaptation in training, for maml, fomaml and anil.
      num_test_steps: the same, on held-out classes.
      meta_lr: step size of the outer Adam at its start.
      weight_decay: part of the weights that the outer Adam takes off in each step, times its step size.
      eval_every: meta-steps between two validations on the classes of val; by default there is none.
      eval_tasks: tasks per validation.
      test_tasks: held-out tasks in the final measurement.
    """
    moves, labels = algorithm in BY_STEPS, algorithm in BY_LABELS
    net = _network(backbone, features, num_ways if moves else None, dtype)
    model = jm.from_linen(net, norm="transductive" if moves else "running")
    how = recomputing(remat, algorithm)
    make = by_steps(partial(BY_STEPS[algorithm], model, jm.losses.cross_entropy, **how)) if moves else None
    layout: dict[str, Any] = {"num_ways": num_ways, "num_shots": num_shots}
    _check_ways(num_train_ways, num_ways, moves)
    if size is not None and size < 16:
        raise ValueError(f"`size` is {size} pixels, of which four halvings leave nothing: 16 or more.")

    by_name = ClassSplit(held_out, num_ways, 2 if labels else num_train_ways or num_ways, bool(eval_every))

    def data(split: str) -> ClassSet:
        return photographs_of(dataset, split, data_dir, size, download, by_name)

    def tested(split: str) -> Sampler:
        classes = data(split)
        with _classes_of(split, "`num_queries` is `num_test_queries`"):
            return jm.tasks.episodes(classes, **layout, num_queries=num_test_queries)

    def train() -> Sampler:
        if labels:
            sampler = jm.tasks.batches(data("train"), batch_size=batch_size)
        else:
            classes, ways = data("train"), num_train_ways or num_ways
            with _classes_of("train", "`num_ways` is `num_train_ways`" if num_train_ways else ""):
                sampler = jm.tasks.episodes(classes, num_ways=ways, num_shots=num_shots, num_queries=num_queries)
        return jm.tasks.augmented(sampler, crop=crop, flip=flip, jitter=jitter)

    return Experiment(
        learner=make(num_steps=num_inner_steps) if make else (BY_FEATURES | BY_LABELS)[algorithm](model),
        make_learner=make,
        test_steps=tuple(sorted({num_inner_steps, num_test_steps})) if make else (),
        optimizer=optax.adamw(optax.cosine_decay_schedule(meta_lr, num_steps), weight_decay=weight_decay),
        tasks=by_split(
            train=train,
            val=(lambda: tested("val")) if eval_every else None,
            test=lambda: tested("test"),
        ),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        cpu_chunk=1 if moves and algorithm != "anil" else None,
        log_every=25,
        eval_every=eval_every,
        eval_tasks=eval_tasks,
        test_tasks=test_tasks,
        published=published(dataset, backbone, algorithm, **layout),
        note=lambda: explain(Path(data_dir), "data_dir", by_name) if dataset == "folder" and data_dir else "",
    )


def _network(backbone: str, features: int, num_outputs: int | None, dtype: Dtype) -> Any:
    how: dict[str, Any] = {"num_outputs": num_outputs, "dtype": compute_dtype(dtype)}
    if backbone == "conv4":
        return jm.backbones.Conv4(features=features, pool="max", **how)
    widths = (features, 5 * features // 2, 5 * features, 10 * features)
    return jm.backbones.ResNet12(widths=widths, **how)


def photographs_of(
    dataset: Dataset, split: str, data_dir: str | None, size: int | None, download: bool, by_name: ClassSplit
) -> ClassSet:
    """The classes of a split; ``dataset`` and its files as for `photographs`."""
    return jm.datasets.load(dataset, split, data_dir=data_dir, download=download, size=size, class_split=by_name)


@contextmanager
def _classes_of(split: str, note: str) -> Iterator[None]:
    """Says in errors which classes are too few or too small, and what an argument is called here."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} These are the classes of {split!r}{f', where {note}' if note else ''}.") from error


def _check_ways(num_train_ways: int | None, num_ways: int, moves: bool) -> None:
    if moves and num_train_ways not in (None, num_ways):
        raise ValueError(
            f"`num_train_ways` is {num_train_ways}, but this algorithm's head has one output for each of "
            f"`num_ways` = {num_ways} classes. Leave it out, or take an algorithm that reads features."
        )
