"""Any algorithm on characters: one network, one protocol, so that they can be compared, or one of them tried."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ..types import ClassSet, MetaLearner
from ._knobs import Dtype, Remat, compute_dtype, recomputing

PGD = partial(jm.attacks.pgd, radius=0.1, num_steps=3)
LOSS: dict[str, Any] = {"loss_fn": jm.losses.cross_entropy}
STEP: dict[str, Any] = {"inner_optimizer": optax.sgd(0.5), "num_steps": 1}
REPTILE: dict[str, Any] = {"inner_optimizer": jm.inner.adam(3e-3, b1=0.0)}

# Those that move the weights of a network with a head, one output for each way.
BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": partial(jm.maml, **LOSS, **STEP),
    "fomaml": partial(jm.maml, **LOSS, first_order=True, **STEP),
    "anil": partial(jm.anil, **LOSS, inner_optimizer=optax.sgd(0.5), num_steps=5),
    "boil": partial(jm.boil, **LOSS, **STEP),
    "reptile": partial(jm.reptile, **LOSS, num_steps=5, batch_size=10, **REPTILE),
    "meta_sgd": partial(jm.meta_sgd, **LOSS, init_lr=0.4),
    "imaml": partial(jm.imaml, **LOSS, inner_optimizer=optax.sgd(0.3), num_steps=4, strength=1.0, cg_steps=2),
    "maml_plus_plus": partial(jm.maml_plus_plus, **LOSS, inner_lr=0.3, num_steps=2, multi_step_until=500),
    "lstm": partial(jm.lstm, **LOSS, num_steps=3, init_lr=0.1),
}

# Those that compare embeddings, or read them; then those made of other learners.
BY_FEATURES: dict[str, Callable[..., MetaLearner]] = {
    "protonet": jm.protonet,
    "soft_kmeans": jm.soft_kmeans,
    "matching": jm.matching,
    "relation": jm.relation,
    "simpleshot": jm.simpleshot,
    "r2d2": jm.r2d2,
    "lrd2": jm.lrd2,
    "metaoptnet": jm.metaoptnet,
    "mann": partial(jm.mann, num_slots=8, num_heads=1, hidden=100),
    "snail": partial(jm.snail, filters=32, attention=((32, 16), (64, 32), (64, 32))),
    "adversarial": lambda net: jm.adversarial(jm.protonet(net), attack=PGD()),
    "bagging": lambda net: jm.bagging(jm.protonet(net), num_members=3),
    "stacking": lambda net: jm.stacking([jm.protonet(net), jm.r2d2(net)]),
    "boosting": lambda net: jm.boosting(jm.protonet(net), num_members=3),
}

# Those that learn a classifier of all training classes first.
BY_LABELS: dict[str, Callable[..., MetaLearner]] = {
    "baseline": jm.baseline,
    "baseline_plus_plus": jm.baseline_plus_plus,
    "rfs": jm.rfs,
}
Algorithm = Literal[
    "protonet", "soft_kmeans", "matching", "relation", "simpleshot", "r2d2", "lrd2", "metaoptnet", "mann", "snail",
    "maml", "fomaml", "anil", "boil", "reptile", "meta_sgd", "imaml", "maml_plus_plus", "lstm",
    "baseline", "baseline_plus_plus", "rfs", "adversarial", "bagging", "stacking", "boosting",
]  # fmt: skip


def characters(
    *,
    algorithm: Algorithm = "protonet",
    dataset: Literal["glyphs", "omniglot"] = "glyphs",
    data_dir: str | None = None,
    download: bool = False,
    num_steps: int = 2_000,
    num_ways: int = 5,
    num_shots: int | None = None,
    num_queries: int = 5,
    num_test_shots: int = 1,
    num_test_queries: int = 15,
    tasks_per_step: int | None = None,
    features: int = 64,
    meta_lr: float = 2e-3,
    remat: Remat = 0,
    dtype: Dtype = "float32",
    test_tasks: int = 600,
) -> Experiment:
    """Any algorithm on glyphs or Omniglot: four stride-2 convolutions, 5-way 1-shot, Adam with a cosine outside.

    Algorithms that move weights normalise with the batch's statistics (transductive), the others with running
    averages; those that learn from labels see 64 drawings of all training characters at a time instead of episodes.
    Rates inside are this recipe's own, chosen to learn fast and not tuned for each.

    Args:
      algorithm: see `jaxmeta list algorithms`; distill needs a teacher and replay a stream, so they are not here.
      dataset: glyphs need no data; omniglot has the published split, rotated characters being further classes.
      data_dir: folder with images_background.zip and images_evaluation.zip; by default the cache folder.
      download: fetch the zips (16 MB) if they are not there.
      num_steps: meta-steps of training.
      num_ways: classes per task.
      num_shots: support drawings per class, in training; by default 1, or 10 for reptile, which needs mini-batches.
      num_queries: query drawings per class, in training.
      num_test_shots: support drawings per class, on held-out characters.
      num_test_queries: query drawings per class, on held-out characters.
      tasks_per_step: tasks in a meta-batch, by default 16, or 4 for reptile; mini-batches, by default 1, for
        algorithms that learn from labels.
      features: channels of the four convolutions.
      meta_lr: step size of the outer Adam at its start; of plain SGD, five hundred times as large, for reptile.
      test_tasks: held-out tasks in the final measurement.
    """
    moves, labels, reptile = algorithm in BY_STEPS, algorithm in BY_LABELS, algorithm == "reptile"
    num_shots = num_shots or (10 if reptile else 1)
    outputs = num_ways if moves else None
    net = jm.backbones.Conv4(num_outputs=outputs, features=features, dtype=compute_dtype(dtype))
    model = jm.from_linen(net, norm="transductive" if moves else "running")
    rate = optax.cosine_decay_schedule(meta_lr * (500 if reptile else 1), num_steps)
    layout = {"num_ways": num_ways, "num_shots": num_shots, "num_queries": num_queries}
    test = layout | {"num_shots": num_test_shots, "num_queries": num_test_queries}

    def tasks(split: Literal["train", "test"], layout: dict[str, int]):
        if dataset == "glyphs":
            return jm.tasks.glyphs(**layout, split=split)
        return jm.tasks.episodes(characters_of(split), **layout, rotate="extra")

    def characters_of(split: Literal["train", "test"]) -> ClassSet:
        if dataset == "glyphs":
            return drawn()
        return jm.datasets.omniglot("trainval" if split == "train" else split, data_dir=data_dir, download=download)

    def mini_batches():
        rotate = "extra" if dataset == "omniglot" else None
        return jm.tasks.batches(characters_of("train"), batch_size=64, rotate=rotate)

    make = (BY_STEPS | BY_FEATURES | BY_LABELS)[algorithm]
    return Experiment(
        learner=make(model, **recomputing(remat, algorithm)),
        optimizer=optax.sgd(rate) if reptile else optax.adam(rate),
        tasks=by_split(
            train=lambda: mini_batches() if labels else tasks("train", layout), test=lambda: tasks("test", test)
        ),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step or (1 if labels else 4 if reptile else 16),
        make_learner=by_steps(partial(jm.reptile, model, jm.losses.cross_entropy, **REPTILE)) if reptile else None,
        test_steps=(8,) if reptile else (),
        cpu_chunk=1 if moves and algorithm != "anil" else None,  # whose convolutions all tasks share
        log_every=25,
        test_tasks=test_tasks,
        published="none; one network and protocol for all algorithms",
    )


def drawn(num_classes: int = 800, num_drawings: int = 20) -> ClassSet:
    """Glyphs as a finite data set, for those that learn from labels: as many classes as asked, of 20 drawings each."""
    draw = jax.jit(jm.tasks.glyphs(num_ways=20, num_shots=num_drawings, num_queries=1))
    sets = [draw(jax.random.fold_in(jax.random.key(2), i)).support for i in range(num_classes // 20)]
    images = np.concatenate([np.uint8(255 * batch.x) for batch in sets])
    return jm.datasets.from_arrays(images, np.concatenate([20 * i + batch.y for i, batch in enumerate(sets)]))
