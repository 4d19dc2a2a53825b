"""Any algorithm on characters: one network, one protocol, so that they can be compared, or one of them tried."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ..ranges import Count, Examples, Positive, Tasks, Ways
from ..recipe import recipe
from ..settings import Convolutions, Memory
from ..types import ClassSet, MetaLearner, Sampler

Split = Literal["train", "test"]

maml = partial(jm.maml, loss_fn=jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5), num_steps=1)
reptile = partial(jm.reptile, loss_fn=jm.losses.cross_entropy, inner_optimizer=jm.inner.adam(3e-3, b1=0.0))

# Algorithms that move the weights of a network with a head, one output for each way.
BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": maml,
    "fomaml": partial(maml, first_order=True),
    "anil": partial(jm.anil, loss_fn=jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5), num_steps=5),
    "boil": partial(jm.boil, loss_fn=jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5), num_steps=1),
    "reptile": partial(reptile, num_steps=5, batch_size=10),
    "meta_sgd": partial(jm.meta_sgd, loss_fn=jm.losses.cross_entropy, init_lr=0.4),
    "imaml": partial(
        jm.imaml, loss_fn=jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.3), num_steps=4, strength=1.0, cg_steps=2
    ),
    "maml_plus_plus": partial(
        jm.maml_plus_plus, loss_fn=jm.losses.cross_entropy, inner_lr=0.3, num_steps=2, multi_step_until=500
    ),
    "lstm": partial(jm.lstm, loss_fn=jm.losses.cross_entropy, num_steps=3, init_lr=0.1),
    "meta_curvature": partial(jm.meta_curvature, loss_fn=jm.losses.cross_entropy, inner_lr=0.5),
    "t_net": partial(jm.t_net, loss_fn=jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5)),
    "alfa": partial(jm.alfa, loss_fn=jm.losses.cross_entropy, init_lr=0.3, num_steps=2),
    "bootstrapped": partial(
        jm.bootstrapped,
        loss_fn=jm.losses.cross_entropy,
        inner_optimizer=optax.sgd(0.5),
        num_steps=1,
        num_target_steps=2,
    ),
    "cavia": partial(jm.cavia, loss_fn=jm.losses.cross_entropy, layer="norm2", num_context=100, num_steps=2),
}

# Algorithms that compare or read embeddings, and algorithms made of other learners.
BY_FEATURES: dict[str, Callable[..., MetaLearner]] = {
    "protonet": jm.protonet,
    "soft_kmeans": jm.soft_kmeans,
    "matching": jm.matching,
    "relation": jm.relation,
    "simpleshot": jm.simpleshot,
    "r2d2": jm.r2d2,
    "lrd2": jm.lrd2,
    "metaoptnet": jm.metaoptnet,
    "feat": jm.feat,
    "tadam": partial(jm.tadam, conditioned=("norm2", "norm3")),
    "tim": partial(jm.tim, num_steps=100, learning_rate=1e-3),
    "pt_map": jm.pt_map,
    "proto_maml": partial(jm.proto_maml, inner_optimizer=optax.sgd(0.05), num_steps=1),
    "leo": partial(jm.leo, init_lr=0.5),
    "dkt": partial(jm.dkt, init_noise=1.0),
    "mann": partial(jm.mann, num_slots=8, num_heads=1, hidden=100),
    "snail": partial(jm.snail, filters=32, attention=((32, 16), (64, 32), (64, 32))),
    "adversarial": lambda net: jm.adversarial(jm.protonet(net), attack=jm.attacks.pgd(radius=0.1, num_steps=3)),
    "bagging": lambda net: jm.bagging(jm.protonet(net), num_members=3),
    "stacking": lambda net: jm.stacking([jm.protonet(net), jm.r2d2(net)]),
    "boosting": lambda net: jm.boosting(jm.protonet(net), num_members=3),
}

# Algorithms that learn a classifier of all training classes first.
BY_LABELS: dict[str, Callable[..., MetaLearner]] = {
    "baseline": jm.baseline,
    "baseline_plus_plus": jm.baseline_plus_plus,
    "rfs": jm.rfs,
}
Algorithm = Literal[
    "protonet", "soft_kmeans", "matching", "relation", "simpleshot", "r2d2", "lrd2", "metaoptnet", "mann", "snail",
    "feat", "tadam", "tim", "pt_map", "proto_maml", "leo", "dkt",
    "maml", "fomaml", "anil", "boil", "reptile", "meta_sgd", "imaml", "maml_plus_plus", "lstm",
    "meta_curvature", "t_net", "alfa", "bootstrapped", "cavia",
    "baseline", "baseline_plus_plus", "rfs", "adversarial", "bagging", "stacking", "boosting",
]  # fmt: skip


@recipe
def characters(
    *,
    algorithm: Algorithm = "protonet",
    dataset: Literal["glyphs", "omniglot"] = "glyphs",
    data_dir: str | None = None,
    download: bool = False,
    num_steps: Count = 2_000,
    num_ways: Ways = 5,
    num_shots: Examples | None = None,
    num_queries: Examples = 5,
    num_test_shots: Examples = 1,
    num_test_queries: Examples = 15,
    tasks_per_step: Tasks | None = None,
    meta_lr: Positive = 2e-3,
    test_tasks: Tasks = 600,
    net: Convolutions = Convolutions(),
    memory: Memory = Memory(),
) -> Experiment:
    """Any algorithm on glyphs or Omniglot: four stride-2 convolutions, 5-way 1-shot, Adam with a cosine outside.

    Algorithms that move weights normalise with the batch's statistics (transductive), the others with running
    averages. Algorithms that learn from labels get 64 drawings of all training characters at a time instead of
    episodes. Rates inside are this recipe's own, chosen to learn fast and not tuned for each algorithm.

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
      meta_lr: step size of the outer Adam at its start; of plain SGD, five hundred times as large, for reptile.
      test_tasks: held-out tasks in the final measurement.
    """
    moves, labels, is_reptile = algorithm in BY_STEPS, algorithm in BY_LABELS, algorithm == "reptile"
    model = jm.from_linen(net.conv4(num_ways if moves else None), norm="transductive" if moves else "running")
    rate = optax.cosine_decay_schedule(meta_lr * (500 if is_reptile else 1), num_steps)
    shots = (10 if is_reptile else 1) if num_shots is None else num_shots
    rotate = "extra" if dataset == "omniglot" else None

    def classes(split: Split) -> ClassSet:
        if dataset == "glyphs":
            return drawn()
        part = "trainval" if split == "train" else split
        return jm.datasets.load(dataset, part, data_dir=data_dir, download=download)

    def episodes(split: Split, num_shots: int, num_queries: int) -> Sampler:
        if dataset == "glyphs":
            return jm.tasks.glyphs(num_ways=num_ways, num_shots=num_shots, num_queries=num_queries, split=split)
        return jm.tasks.episodes(
            classes(split), num_ways=num_ways, num_shots=num_shots, num_queries=num_queries, rotate=rotate
        )

    def train() -> Sampler:
        if labels:
            return jm.tasks.batches(classes("train"), batch_size=64, rotate=rotate)
        return episodes("train", shots, num_queries)

    per_step = 1 if labels else 4 if is_reptile else 16
    return Experiment(
        learner=memory.applied(ALGORITHMS[algorithm], algorithm)(model),
        optimizer=optax.sgd(rate) if is_reptile else optax.adam(rate),
        tasks=by_split(train=train, test=lambda: episodes("test", num_test_shots, num_test_queries)),
        num_steps=num_steps,
        tasks_per_step=per_step if tasks_per_step is None else tasks_per_step,
        make_learner=by_steps(partial(reptile, model)) if is_reptile else None,
        test_steps=(8,) if is_reptile else (),
        log_every=25,
        test_tasks=test_tasks,
        published="none; one network and protocol for all algorithms",
    )


ALGORITHMS: dict[str, Callable[..., MetaLearner]] = BY_STEPS | BY_FEATURES | BY_LABELS


def drawn(num_classes: int = 800, num_drawings: int = 20) -> ClassSet:
    """Return glyphs as a finite data set, for algorithms that learn from labels: classes of 20 drawings each."""
    draw = jax.jit(jm.tasks.glyphs(num_ways=20, num_shots=num_drawings, num_queries=1))
    sets: list[Any] = [draw(jax.random.fold_in(jax.random.key(2), i)).support for i in range(num_classes // 20)]
    images = np.concatenate([np.uint8(255 * batch.x) for batch in sets])
    return jm.datasets.from_arrays(images, np.concatenate([20 * i + batch.y for i, batch in enumerate(sets)]))
