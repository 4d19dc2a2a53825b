"""Attacks on tasks: move inputs within a ball so that predictions after adaptation become worse.

An attack is a function ``(loss, x, key=None) -> x``: ``loss(x)`` is a scalar to be raised, ``x`` a pytree of arrays
whose floating leaves may move. `pgd` makes one; `perturb` applies it to a task, `attacked` to a sampler.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .learner import merge, predict_rows, split_key
from .losses import LossFn, batch_loss, cross_entropy
from .types import Key, MetaLearner, PyTree, Sampler, Task, Variables

Attack = Callable[..., PyTree]
On = Literal["query", "support", "both"]
PARTS = {"query": ("query",), "support": ("support",), "both": ("support", "query")}


def pgd(
    *,
    radius: float,
    num_steps: int = 7,
    step_size: float | None = None,
    random_start: bool = True,
    bounds: tuple[float, float] | None = None,
) -> Attack:
    r"""Make an attack by projected gradient ascent in the ball $\|\delta\|_\infty \le r$ (Madry et al., 2018).

    $\delta \leftarrow \Pi_r\big(\delta + a \, \mathrm{sign} \nabla_\delta L(x + \delta)\big)$, from a uniformly drawn
    $\delta$. On a convex loss no step lowers it; where a logit is linear, $2 r / a$ steps reach the optimum.

    Args:
      radius: $r$, in the units of the inputs.
      num_steps: steps; 1 with ``step_size=radius`` and no random start is the fast gradient sign method.
      step_size: $a$; by default $2.5 \, r$ over ``num_steps``, or $r$ where that is less.
      random_start: start at a random point of the ball if there is a key; otherwise at its centre.
      bounds: smallest and largest value of an input, (0, 1) for images; none by default.

    Returns:
      ``(loss, x, key=None) -> x``. Integer leaves stay, and no derivative passes through it.

    Raises:
      ValueError: for a negative ``radius`` or ``step_size``, ``num_steps`` below 1, or ``bounds`` in the wrong order;
        when called, if no leaf of ``x`` is floating.

    References:
      https://arxiv.org/abs/1706.06083

    Example:
      >>> attack = pgd(radius=0.5, num_steps=2, random_start=False)
      >>> attack(lambda x: jnp.sum(x * jnp.array([3.0, -1.0])), jnp.zeros(2))
      Array([ 0.5, -0.5], dtype=float32)
    """
    size = min(2.5 * radius / max(num_steps, 1), radius) if step_size is None else step_size
    _check(radius, num_steps, size, bounds)
    low, high = (-jnp.inf, jnp.inf) if bounds is None else bounds

    def attack(loss: Callable[[PyTree], jax.Array], x: PyTree, key: Key | None = None) -> PyTree:
        base = jax.lax.stop_gradient(jax.tree.map(lambda a: a if jnp.issubdtype(a.dtype, jnp.inexact) else None, x))
        leaves, treedef = jax.tree.flatten(base)
        if not leaves:
            raise ValueError("The inputs have no floating leaf, so nothing can move. Attack embeddings instead.")
        bottom = jax.tree.map(lambda a: jnp.clip(low - a, -radius, 0), base)
        top = jax.tree.map(lambda a: jnp.clip(high - a, 0, radius), base)
        project = lambda shift: jax.tree.map(jnp.clip, shift, bottom, top)
        moved = lambda shift: merge(jax.tree.map(jnp.add, base, shift), x)

        def step(shift: PyTree, _: None) -> tuple[PyTree, None]:
            grads = jax.grad(lambda shift: loss(moved(shift)))(shift)
            return project(jax.tree.map(lambda d, g: d + size * jnp.sign(g), shift, grads)), None

        shift = jax.tree.map(jnp.zeros_like, base)
        if random_start and key is not None:
            draw = lambda k, a: jax.random.uniform(k, a.shape, a.dtype, -radius, radius)
            keys = jax.random.split(key, len(leaves))
            shift = project(jax.tree.unflatten(treedef, list(map(draw, keys, leaves))))
        shift = jax.lax.scan(step, shift, length=num_steps)[0]
        end = jax.tree.map(lambda a, d: jnp.clip(a + d, jnp.minimum(a, low), jnp.maximum(a, high)), base, shift)
        return jax.lax.stop_gradient(merge(end, x))

    return attack


def perturb(
    learner: MetaLearner,
    meta: Variables,
    task: Task,
    attack: Attack,
    loss_fn: LossFn = cross_entropy,
    *,
    key: Key | None = None,
    on: On = "query",
) -> Task:
    r"""Return the task with inputs that ``attack`` moved to raise the query loss of predictions after adaptation.

    Attacks $\max_\delta L_Q(f(\mathrm{adapt}(S), Q + \delta))$ on the query, $L_Q(f(\mathrm{adapt}(S + \delta), Q))$ on
    the support set (poisoning, through the derivative of `adapt`), or both jointly; labels and weights stay.

    Raises:
      ValueError: if ``on`` is not one of the three.

    Example:
      >>> import jaxmeta as jm
      >>> learner = jm.protonet(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)
      >>> batch = jm.Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
      >>> perturb(learner, Variables(()), Task(batch, batch), pgd(radius=0.5)).query.x.ravel()
      Array([0.5, 1.5], dtype=float32)
    """
    check_on(on)
    parts = PARTS[on]
    k_start, k_adapt, k_query = split_key(key, 3)
    meta = jax.lax.stop_gradient(meta)
    clean = None if "support" in parts else learner.adapt(meta, task.support, k_adapt)

    def harm(inputs: dict[str, PyTree]) -> jax.Array:
        moved = _with_inputs(task, inputs)
        adapted = learner.adapt(meta, moved.support, k_adapt) if "support" in parts else clean
        outputs = predict_rows(learner, meta, adapted, moved.query.x, k_query, weight=task.query.weight)
        return batch_loss(loss_fn, outputs, task.query)

    return _with_inputs(task, attack(harm, {name: getattr(task, name).x for name in parts}, k_start))


def attacked(
    learner: MetaLearner,
    meta: Variables,
    sampler: Sampler,
    attack: Attack,
    loss_fn: LossFn = cross_entropy,
    *,
    on: On = "query",
) -> "Attacked":
    """Return a sampler of the same tasks, each perturbed against ``learner`` with ``meta``: see `perturb`.

    Evaluate any learner on it; a learner other than the attacked one gives the accuracy under transferred attacks.

    Example:
      >>> # jm.evaluate(learner, meta, attacked(learner, meta, test, pgd(radius=0.1)), num_tasks=600)
    """
    check_on(on)
    return Attacked(meta, sampler, learner, attack, loss_fn, on)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Attacked:
    """The sampler that `attacked` makes; its leaves are those of `meta` and of the sampler within."""

    meta: Variables
    sampler: Any
    learner: MetaLearner = field(metadata={"static": True})
    attack: Attack = field(metadata={"static": True})
    loss_fn: LossFn = field(metadata={"static": True})
    on: On = field(metadata={"static": True})

    def draw(self, key: Key) -> tuple[PyTree, Key]:
        """Draw the task within, and the attack's key."""
        return self.sampler.draw(key), jax.random.fold_in(key, 1)

    def fetch(self, indices: tuple[PyTree, Key]) -> Task:
        """Make the task and perturb it."""
        return self._perturb(self.sampler.fetch(indices[0]), indices[1])

    def __call__(self, key: Key) -> Task:
        """Make the task of ``key`` and perturb it; the sampler within may be a plain function."""
        return self._perturb(self.sampler(key), jax.random.fold_in(key, 1))

    def _perturb(self, task: Task, key: Key) -> Task:
        return perturb(self.learner, self.meta, task, self.attack, self.loss_fn, key=key, on=self.on)


def check_on(on: str) -> None:
    """Raise a ValueError for anything but the three sets that can be attacked."""
    if on not in PARTS:
        raise ValueError(f"`on` must be 'query', 'support' or 'both', got {on!r}.")


def _with_inputs(task: Task, inputs: dict[str, PyTree]) -> Task:
    return task._replace(**{name: getattr(task, name)._replace(x=x) for name, x in inputs.items()})


def _check(radius: float, num_steps: int, step_size: float, bounds: tuple[float, float] | None) -> None:
    if radius < 0 or step_size < 0:
        raise ValueError(f"`radius` and `step_size` must be >= 0, got {radius} and {step_size}.")
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, got {num_steps}.")
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(f"`bounds` must be (smallest, largest), got {bounds}; images in [0, 1] have (0, 1).")
