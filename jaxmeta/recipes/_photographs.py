"""Few-shot classification of photographs, your own or a published set, by the usual algorithms on two backbones."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optax

import jaxmeta as jm

from ..datasets import ClassSplit
from ..datasets._class_splits import explain
from ..datasets._registry import folder_path
from ..experiment import Experiment, by_split, by_steps
from ..ranges import Count, Examples, InnerSteps, NotNegative, OpenShare, Pixels, PositiveShare, Share, Tasks, Ways
from ..recipe import recipe
from ..settings import Convolutions, Episodes, Memory, Outer
from ..types import ClassSet, MetaLearner, Model, Sampler
from ._tables import published_photographs

# Algorithms that move the weights of a network with a head, that read its features, and that learn a classifier of all
# training classes first.
BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": partial(jm.maml, inner_optimizer=optax.sgd(0.01)),
    "fomaml": partial(jm.maml, first_order=True, inner_optimizer=optax.sgd(0.01)),
    "anil": partial(jm.anil, inner_optimizer=optax.sgd(0.01)),
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


@recipe
def photographs(
    *,
    dataset: str = "folder",
    data_dir: str | None = None,
    download: bool = False,
    size: Pixels | None = None,
    held_out: OpenShare = 0.2,
    min_images: Count = 1,
    allow_shared_classes: bool = False,
    algorithm: Algorithm = "protonet",
    backbone: Literal["conv4", "resnet12"] = "conv4",
    episodes: Episodes = Episodes(num_shots=5, num_queries=10, num_test_queries=15),
    num_train_ways: Ways | None = None,
    batch_size: Examples = 64,
    flip: bool = True,
    crop: PositiveShare = 0.6,
    jitter: Share = 0.4,
    num_inner_steps: InnerSteps = 5,
    num_test_steps: InnerSteps = 10,
    outer: Outer = Outer(num_steps=5_000, tasks_per_step=1, test_tasks=600),
    weight_decay: NotNegative = 5e-4,
    eval_every: Count | None = None,
    eval_tasks: Tasks = 100,
    net: Convolutions = Convolutions(),
    memory: Memory = Memory(),
) -> Experiment:
    """Photographs, few-shot: train on some classes, recognise others from a few examples of each.

    Your own photographs are in folders named after their classes. They are split by folders `train`, `val` and `test`
    or, without these, by name. The outer optimizer is Adam with weight decay and a cosine to zero. Conv4 has
    max-pooling. Algorithms that move weights normalise with the batch's statistics (transductive), the others with
    running averages. Training images are mirrored, cropped and relit at random, held-out ones are not. --features are
    the channels of the first block: conv4 has as many throughout, resnet12 2.5, 5 and 10 times as many in its other
    blocks; on a CPU, 16 make resnet12 affordable.

    Args:
      dataset: folder is your own photographs; grocery is a set of 81 groceries, its test classes of other kinds;
        cifar_fs, fc100, miniimagenet, tieredimagenet and cub have published splits. See `jaxmeta list datasets`.
      data_dir: of your own photographs, a folder or zip with a folder of images per class, at any depth; these may be
        in folders train, test and, to validate, val. Of the others, where their files are: see
        `jaxmeta.datasets.grocery` and `jaxmeta.datasets.published_split`.
      download: let TFDS fetch cifar_fs, fc100 or cub, if they are not there.
      size: height and width in pixels, to which images are resized; by default 32 for cifar_fs and fc100, else 84.
      held_out: part of your own classes to test on, and as many to validate, where there are no folders train and
        test; num_ways at least. Their names decide which: after adding classes, train again.
      min_images: leave out your own classes with fewer images.
      allow_shared_classes: accept classes that are both trained and tested on; accuracy on them is no measure of how
        well new classes are learned.
      algorithm: see `jaxmeta list algorithms`; the last three learn from labels, without episodes.
      backbone: conv4 has four convolutions, resnet12 twelve in four residual blocks.
      num_train_ways: classes per task in training, by default num_ways; more help algorithms that read features.
      batch_size: images of a mini-batch, for algorithms that learn from labels.
      flip: mirror half of the training images; leave it out where left and right matter.
      crop: smallest part of height and width that is seen of a training image; 1 leaves them whole.
      jitter: largest change of saturation, contrast and brightness of training images, as a part of them.
      num_inner_steps: steps of adaptation in training, for maml, fomaml and anil.
      num_test_steps: the same, on held-out classes.
      weight_decay: part of the weights that the outer Adam takes off in each step, times its step size.
      eval_every: meta-steps between two validations on the classes of val; by default there is none.
      eval_tasks: tasks per validation.
    """
    moves, labels = algorithm in BY_STEPS, algorithm in BY_LABELS
    model = jm.from_linen(
        _network(backbone, net, episodes.num_ways if moves else None), norm="transductive" if moves else "running"
    )
    factory = memory.applied((BY_STEPS | BY_FEATURES | BY_LABELS)[algorithm], algorithm)
    make = by_steps(partial(factory, model, jm.losses.cross_entropy)) if moves else None
    if moves and num_train_ways not in (None, episodes.num_ways):
        raise ValueError(
            f"`num_train_ways` is {num_train_ways}, but this algorithm's head has one output for each of "
            f"`num_ways` = {episodes.num_ways} classes. Leave it out, or take an algorithm that reads features."
        )
    train_ways = episodes.num_ways if num_train_ways is None else num_train_ways
    by_name = ClassSplit(
        held_out=held_out,
        num_ways=episodes.num_ways,
        num_train_ways=2 if labels else train_ways,
        validates=eval_every is not None,
        allow_shared_classes=allow_shared_classes,
        min_images=min_images,
    )

    def data(split: str) -> ClassSet:
        return jm.datasets.load(dataset, split, data_dir=data_dir, download=download, size=size, class_split=by_name)

    def sampler(split: str, note: str = "", **layout: Any) -> Sampler:
        classes = data(split)
        try:
            return jm.tasks.episodes(classes, **layout)
        except ValueError as error:
            where = f"These are the classes of {split!r}{f', where {note}' if note else ''}."
            skip = _how_to_skip(classes, layout) if folder_path(dataset, data_dir) else ""
            raise ValueError(f"{error} {where}{skip}") from error

    def tested(split: str) -> Sampler:
        return sampler(split, "`num_queries` is `num_test_queries`", **episodes.layout(held_out=True))

    def train() -> Sampler:
        if labels:
            tasks = jm.tasks.batches(data("train"), batch_size=batch_size)
        else:
            note = "`num_ways` is `num_train_ways`" if num_train_ways else ""
            tasks = sampler("train", note, **episodes.layout(num_ways=train_ways))
        return jm.tasks.augmented(tasks, crop=crop, flip=flip, jitter=jitter)

    rate = optax.cosine_decay_schedule(outer.meta_lr, outer.num_steps)
    return Experiment(
        learner=make(num_steps=num_inner_steps) if make else factory(model),
        make_learner=make,
        test_steps=tuple(sorted({num_inner_steps, num_test_steps})) if make else (),
        optimizer=optax.adamw(rate, weight_decay=weight_decay),
        tasks=by_split(
            train=train, val=None if eval_every is None else lambda: tested("val"), test=lambda: tested("test")
        ),
        num_steps=outer.num_steps,
        tasks_per_step=outer.tasks_per_step,
        log_every=25,
        eval_every=eval_every,
        eval_tasks=eval_tasks,
        test_tasks=outer.test_tasks,
        published=published_photographs(dataset, backbone, algorithm, episodes.size),
        allow_shared_classes=allow_shared_classes,
        note=lambda: explain(Path(data_dir), "data_dir", by_name) if dataset == "folder" and data_dir else "",
    )


def _network(backbone: str, net: Convolutions, num_outputs: int | None) -> Any:
    if backbone == "conv4":
        return net.conv4(num_outputs, pool="max")
    widths = (net.features, 5 * net.features // 2, 5 * net.features, 10 * net.features)
    return jm.backbones.ResNet12(widths=widths, num_outputs=num_outputs, dtype=net.module_dtype)


def _how_to_skip(classes: ClassSet, layout: Mapping[str, int]) -> str:
    """Return the advice that leaves out the classes that are too small for a task, by name."""
    needed = layout["num_shots"] + layout["num_queries"]
    small = [name for name, count in zip(classes.names, classes.count, strict=True) if count < needed]
    some = ", ".join(map(repr, small[:5])) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
    return f" To leave out {some}, pass `min_images={needed}`." if small else ""
