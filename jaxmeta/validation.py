"""Checks of tasks and class sets on the host, before anything is traced."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from .types import Batch, ClassSet, MetaLearner, MetaState, Model, PyTree, Sampler, Task, Variables


def check_task(task: Any, *, num_ways: int | None = None, unlabelled: bool = False) -> None:
    """Check one episode: matching lengths and, where values are known, labels in range and finite inputs.

    Examples of weight 0 may hold anything.

    Args:
      task: a `Task`, one episode. Of traced arrays only the shapes and dtypes are checked.
      num_ways: the number of classes where ``ways`` does not say it: the learner's outputs, for instance.
      unlabelled: whether support examples may have the label -1, as the learner uses unlabelled ones.

    Raises:
      TypeError: if ``task`` is no `Task`.
      ValueError: naming the field, its value and what to do.

    Example:
      >>> check_task(Task(Batch(jnp.ones((3, 2)), jnp.ones(2)), None))
      Traceback (most recent call last):
      ValueError: `task.support` has 3 inputs but 2 targets. ...
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"A task must be a `jaxmeta.Task`, got {type(task).__name__}. Let the sampler return "
            "`Task(Batch(x, y), Batch(x, y))`: a support set and a query set."
        )
    for name, batch in (("support", task.support), ("query", task.query)):
        if isinstance(batch, Batch):
            _check_lengths(f"task.{name}", batch)
            _check_labels(f"task.{name}", batch, num_ways)
            if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(batch)):
                _check_values(f"task.{name}", batch, num_ways, least=-1 if unlabelled and name == "support" else 0)
    if isinstance(task.query, Batch) and 0 in jnp.shape(jax.tree.leaves(task.query.y)[0]):
        raise ValueError("`task.query` has no examples, so there is nothing to predict. Give at least one query.")


_WRAP = "`jaxmeta.from_linen(module)`, `jaxmeta.from_nnx(build)` and `jaxmeta.from_functions(init, apply)` make one"


def check_is_learner(learner: Any) -> None:
    """Check that an argument is a learner.

    Raises:
      TypeError: naming the type, and how a learner is made.

    Example:
      >>> check_is_learner("maml")
      Traceback (most recent call last):
      TypeError: `learner` must be a `MetaLearner`, got str. ...
    """
    if isinstance(learner, MetaLearner):
        return
    if isinstance(learner, Model):
        raise TypeError("`learner` is a Model. Give it to an algorithm: `jaxmeta.maml(model, jaxmeta.losses.mse)`.")
    if any(base.__module__.startswith("flax.") for base in type(learner).__mro__):
        raise TypeError(
            f"`learner` is a flax module, {type(learner).__name__}. An algorithm makes a learner of a Model, and "
            f"{_WRAP}: `jaxmeta.maml(jaxmeta.from_linen(module), jaxmeta.losses.mse)`."
        )
    raise TypeError(
        f"`learner` must be a `MetaLearner`, got {type(learner).__name__}. An algorithm makes one: "
        "`jaxmeta.maml(model, jaxmeta.losses.mse)`."
    )


def check_is_optimizer(optimizer: Any) -> None:
    """Check that an argument is an optax optimizer.

    Raises:
      TypeError: naming the type.

    Example:
      >>> check_is_optimizer(1e-3)
      Traceback (most recent call last):
      TypeError: `optimizer` must be an optax optimizer such as `optax.adam(1e-3)`, got float.
    """
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(
            f"`optimizer` must be an optax optimizer such as `optax.adam(1e-3)`, got {type(optimizer).__name__}."
        )


def check_is_state(state: Any) -> None:
    """Check that an argument is a training state.

    Raises:
      TypeError: naming the type, and where a state comes from.

    Example:
      >>> check_is_state(Variables({}))
      Traceback (most recent call last):
      TypeError: `state` must be the training state, a `MetaState`, got Variables. ...
    """
    if not isinstance(state, MetaState):
        whole = " That is `state.meta`: give the whole `state`." if isinstance(state, Variables) else ""
        raise TypeError(
            f"`state` must be the training state, a `MetaState`, got {type(state).__name__}.{whole} `jaxmeta.init` "
            "makes one."
        )


def check_same_shapes(name: str, have: PyTree, want: PyTree, remedy: str) -> None:
    """Check that two trees have leaves of the same names and shapes.

    Args:
      name: of the first tree, for the message.
      have, want: the tree that was given, and one as it must be; arrays or their shapes.
      remedy: the end of the message: whose tree is wanted, and what to do.

    Raises:
      ValueError: naming the leaves that differ.

    Example:
      >>> check_same_shapes("meta", {"w": jnp.ones(3)}, {"w": jnp.ones(4)}, "Give the learner's own.")
      Traceback (most recent call last):
      ValueError: `meta` does not fit: w has shape (3,) instead of (4,). Give the learner's own.
    """

    def shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf) for path, leaf in leaves}

    ours, theirs = shapes(have), shapes(want)
    differ = [f"{path or name} is missing" for path in theirs if path not in ours]
    differ += [f"{path or name} is not expected" for path in ours if path not in theirs]
    differ += [
        f"{path or name} has shape {ours[path]} instead of {shape}"
        for path, shape in theirs.items()
        if ours.get(path, shape) != shape
    ]
    if differ:
        more = f" ... and {len(differ) - 4} more" if len(differ) > 4 else ""
        raise ValueError(f"`{name}` does not fit: {', '.join(differ[:4])}{more}. {remedy}")


def check_is_model(model: Any) -> None:
    """Check that the argument of an algorithm is a Model.

    Raises:
      TypeError: naming the type, and how a Model is made.

    Example:
      >>> check_is_model(jnp.tanh)
      Traceback (most recent call last):
      TypeError: `model` must be a `Model`, got ...
    """
    if not isinstance(model, Model):
        raise TypeError(f"`model` must be a `Model`, got {type(model).__name__}: {_WRAP}.")


def check_disjoint(
    train: ClassSet | Sampler, test: ClassSet | Sampler, *, split: str = "test", allow: str = "allow shared classes"
) -> None:
    """Check that no class of held-out tasks was trained on: accuracy on such classes is not accuracy on new ones.

    Args:
      train, test: a `ClassSet`, or a sampler that draws from one: classes to train on, and classes to measure on.
        Samplers without named classes pass.
      split: the split that ``test`` is, for the message.
      allow: how the caller lets the user go on, for the message.

    Raises:
      ValueError: naming the classes that both have, by the rule of `shared_names`.

    Example:
      >>> data = ClassSet(jnp.zeros((4, 1)), np.array([0, 2]), np.array([2, 2]), ("cat", "dog"))
      >>> check_disjoint(data.select(["cat"]), data.select(["dog"]))
      >>> check_disjoint(data, data.select(["dog"]))
      Traceback (most recent call last):
      ValueError: 1 of the 1 classes of 'test' are trained on: 'dog'. ...
    """
    names = class_names(test)
    shared = shared_names(class_names(train), names)
    if shared:
        some = ", ".join(repr(name) for name in shared[:5]) + (" ..." if len(shared) > 5 else "")
        raise ValueError(
            f"{len(shared)} of the {len(names)} classes of {split!r} are trained on: {some}. The accuracy would be "
            f"that of known classes. Divide the classes, for instance with `ClassSet.split`, or {allow}."
        )


def shared_names(train: Iterable[str], test: Iterable[str]) -> list[str]:
    """Return the names of ``test`` that are in ``train`` too, sorted; without regard to case and outer spaces.

    Names that are whole numbers are labels, which may stand for other classes in each set. They are not compared.

    Example:
      >>> shared_names(["Cat", "dog", "7"], ["fox", "cat", "7"])
      ['cat']
    """
    known = {name.strip().casefold() for name in train}
    return sorted({name for name in test if name.strip().casefold() in known and not name.strip().isdecimal()})


def class_names(source: ClassSet | Sampler) -> tuple[str, ...]:
    """Return the names of the classes of a `ClassSet`, of a sampler, or of the sampler within it; () without names.

    Example:
      >>> class_names(ClassSet(jnp.zeros((1, 1)), np.array([0]), np.array([1]), ("cat",)))
      ('cat',)
    """
    names: tuple[str, ...] = tuple(getattr(source, "names", None) or ())
    within = getattr(source, "sampler", None)
    return names if names or within is None else class_names(within)


def check_integers(name: str, tree: PyTree) -> None:
    """Check that 64-bit integers of host arrays fit into the 32 bits that they have on the device.

    Raises:
      ValueError: naming the array and its largest value.

    Example:
      >>> check_integers("y", np.array([3_000_000_000]))
      Traceback (most recent call last):
      ValueError: `y` holds integers from 3000000000 to 3000000000, ...
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, np.ndarray) and leaf.size and leaf.dtype.kind in "iu":
            bounds = np.iinfo(jax.dtypes.canonicalize_dtype(leaf.dtype))
            low, high = int(leaf.min()), int(leaf.max())
            if low < bounds.min or high > bounds.max:
                raise ValueError(
                    f"`{name}{jax.tree_util.keystr(path)}` holds integers from {low} to {high}, but {bounds.dtype} on "
                    f"the device ends at {bounds.max}, and larger ones would wrap round. Number them anew "
                    '(`np.unique(a, return_inverse=True)`), or set `jax.config.update("jax_enable_x64", True)`.'
                )


def _check_lengths(name: str, batch: Batch) -> None:
    lengths = {
        field: {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(part)} for field, part in batch._asdict().items()
    }
    num_x, num_y = lengths["x"], lengths["y"]
    if len(num_x) != 1 or num_x != num_y or num_x == {()}:
        raise ValueError(
            f"`{name}` has {_count(num_x)} inputs but {_count(num_y)} targets. A Task is one episode with a leading "
            "axis [N]; a batch of tasks is stacked to [T, N, ...] and goes to `meta_step`."
        )
    if batch.weight is not None and lengths["weight"] != num_x:
        raise ValueError(
            f"`{name}.weight` has shape {jnp.shape(batch.weight)}, but there are {next(iter(num_x))[0]} examples."
        )


def _count(sizes: Iterable[tuple[int, ...]]) -> str:
    return " and ".join(str(*size) or "scalar" for size in sorted(sizes)) or "no"


def _check_labels(name: str, batch: Batch, num_ways: int | None) -> None:
    """Check dtype and shape of the labels of a classification task."""
    if batch.ways is not None and jnp.ndim(batch.ways) != 1:
        raise ValueError(f"`{name}.ways` must be bool [W], one entry per class, got shape {jnp.shape(batch.ways)}.")
    y = batch.y
    width = num_ways if batch.ways is None else len(batch.ways)
    if not hasattr(y, "dtype") or width is None:
        return
    per_token = (batch.weight is not None and jnp.ndim(batch.weight) > 1) or any(
        jnp.shape(leaf)[: y.ndim] == y.shape and (jnp.ndim(leaf) > 2 or jnp.issubdtype(leaf.dtype, jnp.integer))
        for leaf in jax.tree.leaves(batch.x)
    )
    if y.ndim == 2 and not per_token and y.shape[1] in (1, width):
        column = y.shape[1] == 1
        raise ValueError(
            f"`{name}.y` is {'a column' if column else 'one-hot'} {y.shape}, but labels are integers [N] from 0 to "
            f"{width - 1}: take `{'y[:, 0]' if column else 'y.argmax(-1)'}`."
        )
    if batch.ways is not None and not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"`{name}.y` is {y.dtype}, but a task with `ways` has integer labels from 0 to {width - 1}: take "
            "`y.astype(int)`, or leave `ways` out if the targets are no labels."
        )


_UNLABELLED = (
    " The label -1 marks unlabelled support examples for learners that use them, such as "
    '`soft_kmeans(unlabelled="support")`; give them weight 0 for all others.'
)


def _check_values(name: str, batch: Batch, num_ways: int | None, least: int) -> None:
    """Check the values of examples that have a weight; ``least`` is the smallest label."""
    check_integers(f"{name}.x", batch.x)
    check_integers(f"{name}.y", batch.y)
    for leaf in jax.tree.leaves(batch.x):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(_visible(leaf, batch.weight)).all():
            raise ValueError(f"`{name}.x` holds NaN or infinite values. Clean the data before sampling tasks from it.")
    width = num_ways if batch.ways is None else len(batch.ways)
    if width is None or not hasattr(batch.y, "dtype") or not jnp.issubdtype(batch.y.dtype, jnp.integer):
        return
    labels = _visible(batch.y, batch.weight)
    if labels.size and (labels.min() < least or labels.max() >= width):
        source = f"there are {width} outputs" if batch.ways is None else f"`ways` has length {width}"
        hint = _UNLABELLED if labels.min() == -1 else ""
        raise ValueError(
            f"`{name}.y` has labels from {labels.min()} to {labels.max()}, but {source}: "
            f"labels are 0 to {width - 1}. Relabel the classes of each task, or make "
            f"{'the model wider' if batch.ways is None else '`ways` longer'}.{hint}"
        )


def _visible(values: Any, weight: Any) -> np.ndarray:
    """Return the entries (by token where ``values`` are by token) whose weight is not 0."""
    values = np.asarray(values)
    if weight is None:
        return values
    shown = np.asarray(weight) != 0
    if values.shape[: shown.ndim] != shown.shape:
        shown = shown.reshape(len(shown), -1).any(1)
    return values[shown]
