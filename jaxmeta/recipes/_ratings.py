"""Recommendation in the cold: ratings of new users and new items, by MeLU, processes and factorisation."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

from ..datasets import ColdStart, Ratings, World
from ..experiment import Experiment, by_split, by_steps
from ..learner import episodic
from ..ranges import InnerSteps, Positive, Width
from ..recipe import recipe
from ..settings import Outer, Points
from ..types import Batch, Key, MetaLearner, PyTree, Sampler, Task, Variables

Situation = Literal["held_out", "new_users", "new_items", "both_new"]
Algorithm = Literal["melu", "maml", "neural_process", "attentive_process", "alpaca", "factorisation", "bias"]
SIZES = {"age": 7, "gender": 2, "occupation": 21, "genre": 18, "year": 30, "item": 300}  # of the invented world
CENTRE = 3.5
METRICS = {
    "MAE": jm.losses.mae,
    "RMSE": jm.losses.rmse,
    "nDCG@5": jm.losses.ndcg,
    "precision@5": jm.losses.precision,
}


@recipe
def ratings(
    *,
    algorithm: Algorithm = "melu",
    data_dir: str | None = None,
    situation: Situation = "new_users",
    points: Points = Points(num_queries=10, num_test_queries=10),
    inner_lr: Positive = 0.05,
    num_inner_steps: InnerSteps = 5,
    hidden: Width = 64,
    embedding: Width = 16,
    outer: Outer = Outer(num_steps=2_000, tasks_per_step=32),
) -> Experiment:
    """Predict the ratings of users from a few of theirs: cold start, with a fifth of users and of items being new.

    Training is on existing users and items. An invented world, of which the best prediction is known and measured
    beside, needs no files. Of MovieLens the newest movies are the new items. Ratings of existing users and items are
    predicted that were held out from training. Measured per user: errors, and rankings of the query items.

    Args:
      algorithm: melu adapts decision layers, and maml embeddings too; the processes and alpaca read the network's
        features; factorisation and bias have factors and biases of items instead of a network.
      data_dir: folder or zip of MovieLens 100K or 1M, or a csv of user, item, rating; without it, an invented world.
      situation: who is measured: existing users and items, users that are new, items that are new, or both.
      inner_lr: step size of adaptation, of algorithms that adapt by steps.
      num_inner_steps: steps of adaptation.
      hidden: width of the two hidden layers.
      embedding: width of the embedding of a feature.
    """
    data = None if data_dir is None else jm.datasets.ratings(data_dir)
    sizes = SIZES if data is None else {name: size for name, size in data.sizes.items() if name != "user"}
    net = partial(jm.backbones.Interactions, sizes, embedding, (hidden, hidden))
    steps: dict[str, Callable[..., MetaLearner]] = {"melu": jm.melu, "maml": partial(jm.maml, loss_fn=jm.losses.mse)}
    make = None
    if algorithm in steps:
        model = jm.from_linen(net(num_outputs=1, centre=CENTRE))
        make = by_steps(partial(steps[algorithm], model, inner_optimizer=optax.sgd(inner_lr)))
        learner = make(num_steps=num_inner_steps)
    else:
        learner = _reader(algorithm, jm.from_linen(net()), sizes["item"])
    rate = optax.cosine_decay_schedule(outer.meta_lr, outer.num_steps)
    users_mean = jm.factorisation(sizes["item"], rank=0, centre=CENTRE)
    invented: dict[str, MetaLearner] = {} if data is not None else {"best possible": best_possible()}
    parts = cache(lambda: divided(data))
    return Experiment(
        learner=learner,
        make_learner=make,
        test_steps=(num_inner_steps,) if make else (),
        optimizer=optax.adam(rate),
        tasks=by_split(
            train=lambda: jm.tasks.ratings(parts().train, **points.layout()),
            test=lambda: measured(parts(), situation, points),
        ),
        num_steps=outer.num_steps,
        tasks_per_step=outer.tasks_per_step,
        log_every=100,
        test_tasks=outer.test_tasks,
        metrics=METRICS,
        beside={"mean of the user's ratings": users_mean} | invented,
        published="none for this protocol",
    )


def _reader(algorithm: str, features: Any, num_items: int) -> MetaLearner:
    """Return a learner that reads features of the network, or factors of items."""
    if algorithm == "neural_process":
        return jm.neural_process(features)
    if algorithm == "attentive_process":
        return jm.neural_process(features, num_heads=4)
    if algorithm == "alpaca":
        return jm.alpaca(features, init_std=1.0)
    return jm.factorisation(num_items, rank=0 if algorithm == "bias" else 8, centre=CENTRE)


def measured(parts: ColdStart, situation: Situation, points: Points) -> Sampler:
    """Return the sampler of held-out tasks of a situation."""
    if situation == "held_out":
        return jm.tasks.ratings(parts.train, query=parts.held_out, **points.layout(held_out=True))
    return jm.tasks.ratings(getattr(parts, situation), **points.layout(held_out=True))


def divided(data: Ratings | None, seed: int = 0) -> ColdStart:
    """Return the parts of cold start of the data, or of the invented world, where all years are alike."""
    newest = None if data is None or "year" not in data.items else "year"
    return jm.datasets.cold_start(data or invented_world()[0], key=jax.random.key(seed), newest=newest)


@cache
def invented_world() -> tuple[Ratings, World]:
    """Return the invented ratings, and the world behind them."""
    return jm.datasets.invented_ratings(key=jax.random.key(0))


class Taste(NamedTuple):
    """The posterior mean of a user's taste, ``[R]``, as a deviation from what the user's features let expect."""

    deviation: jax.Array


def best_possible(world: Callable[[], World] = lambda: invented_world()[1]) -> MetaLearner:
    r"""Return the learner that predicts an invented world with the smallest error that is possible.

    It knows all numbers of the world but the users' own tastes and the noise, and computes their posterior mean as
    `World.predict` does. Nothing is learned.

    Example:
      >>> _, world = jm.datasets.invented_ratings(num_users=5, num_items=9, num_ratings=6, key=jax.random.key(0))
      >>> learner, x = best_possible(lambda: world), {"user": jnp.array([2]), "item": jnp.array([3])}
      >>> adapted = learner.adapt(Variables({}), Batch(x, jnp.array([[4.0]])))
      >>> ours = learner.predict(Variables({}), adapted, x)[0, 0]
      >>> bool(abs(ours - world.predict(2, [3], [4.0], [3])[0][0]) < 1e-5)
      True
    """

    def known(x: PyTree) -> tuple[jax.Array, jax.Array]:
        w = world()
        traits, expected = jnp.asarray(w.traits)[x["item"]], jnp.asarray(w.expected)[x["user"]]
        return w.mean + jnp.asarray(w.quality)[x["item"]] + (traits * expected).sum(-1), traits

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Taste:
        w, (expected, traits) = world(), known(support.x)
        weight = jnp.ones(len(traits)) if support.weight is None else support.weight
        precision = jnp.eye(traits.shape[1]) / w.spread**2 + (traits.T * weight[None]) @ traits / w.noise**2
        moment = traits.T @ (weight * (support.y[:, 0] - expected)) / w.noise**2
        return Taste(jnp.linalg.solve(precision, moment))

    def forward(
        meta: Variables,
        adapted: Taste,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        expected, traits = known(x)
        return (expected + traits @ adapted.deviation)[:, None], ()

    def init(key: Key, task: Task) -> Variables:
        return Variables({})

    return episodic(init, adapt, forward, jm.losses.mse, empty_support=True)
