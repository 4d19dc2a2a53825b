r"""The inner loop: gradient descent that can be differentiated through.

`descend` runs any optax optimizer for a fixed number of steps, with derivatives that are finite where a gradient is
zero (`finite_derivatives`). Reverse-mode differentiation of the loop needs, at every step with gradient
$g = \nabla_p L(p, e)$ and cotangent $v$, the products $H v$ and $(\partial g / \partial e)^T v$. The argument
``gradient`` chooses how they are computed. First, `hoist` makes every value that the objective closes over an explicit
argument, so algorithms may close over anything.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import optax
from jax.ad_checkpoint import checkpoint_name
from jax.core import eval_jaxpr
from jax.extend.core import Jaxpr

from . import iterates
from .extra_arguments import reads_value, update_of
from .finite_derivatives import finite_derivatives
from .mixed import mixed_value_and_grad
from .types import PyTree

Gradient = Literal["mixed", "reverse", "first_order"]
Objective = Callable[..., tuple[jax.Array, PyTree]]


class Descent(NamedTuple):
    """The end of an inner loop: parameters, carried state, and the optimizer's state."""

    params: PyTree
    state: PyTree
    opt_state: PyTree


def descend(
    objective: Objective,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    *,
    state: PyTree = (),
    inputs: PyTree = None,
    opt_state: PyTree = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> Descent:
    r"""Take ``num_steps`` optimizer steps on an objective, differentiably.

    $p_{k+1} = p_k + u(\nabla_p L(p_k, s_k, i_k))$, with the optimizer's update $u$. The carried state $s$
    is never differentiated. An optimizer that takes extra arguments is also given the loss, as ``value``, a constant.

    Args:
      objective: ``(params, state, input) -> (scalar, state)``; it may close over anything. What does not
        depend on its arguments is computed once, before the first step.
      params: the parameters to start from; pytree of float arrays.
      optimizer: any optax transformation. Adam needs ``eps_root > 0`` here: see `adam`.
      num_steps: steps, 0 allowed.
      state: carried from step to step (batch statistics).
      inputs: pytree of arrays ``[num_steps, ...]``, one slice a step (keys, mini-batches).
      opt_state: the optimizer's state to start from; fresh by default.
      gradient: how the outer derivative passes a step. ``"mixed"``: forward over reverse, exact to any order, in
        forward and in reverse mode, and the cheapest; ``"reverse"``: reverse over reverse, exact too, for objectives
        with a part that has no forward rule; ``"first_order"``: inner gradients are constants.
      remat: 0 keeps what the backward pass needs; ``g`` recomputes it in groups of ``g`` steps, keeping only
        every ``g``-th iterate (1 is every step); ``"sqrt"`` takes groups of about ``sqrt(num_steps)``.
      truncate: an approximation, for long loops: only the last so many steps are differentiated exactly; in
        those before, inner gradients are constants, as in first order. 0 is first order, None the exact whole.

    Returns:
      A `Descent`.

    Raises:
      ValueError: for a negative ``num_steps`` or ``truncate``, an unknown ``gradient`` or ``remat``, or ``inputs``
        of another length.

    References:
      Kemaev et al., 2025, https://arxiv.org/abs/2505.00793 (mixed mode).
      Shaban et al., 2019, https://arxiv.org/abs/1810.10667 (truncation).

    Example:
      >>> import jax.numpy as jnp
      >>> quadratic = lambda p, state, _: (0.5 * jnp.sum(p**2), state)
      >>> end = lambda p: descend(quadratic, p, optax.sgd(0.5), 3).params.sum()
      >>> jax.grad(end)(jnp.ones(2))  # (1 - 0.5) ** 3
      Array([0.125, 0.125], dtype=float32)
    """
    _check(num_steps, gradient, remat, truncate)
    if any(leaf.shape[:1] != (num_steps,) for leaf in jax.tree.leaves(inputs)):
        shapes = [leaf.shape for leaf in jax.tree.leaves(inputs)]
        raise ValueError(f"`inputs` needs a leading axis of `num_steps` = {num_steps} in every array, got {shapes}.")
    if (iterate := iterates.given()) is not None:
        return iterate
    if iterates.is_recording():  # one loop, not differentiated
        remat, truncate = 0, None
    opt_state = optimizer.init(params) if opt_state is None else opt_state
    start = Descent(params, state, opt_state)
    if num_steps == 0:
        return start
    plain = update_of(optimizer)
    update, moves_value = finite_derivatives(plain), reads_value(plain, opt_state, params)
    explicit, consts = hoist(objective, params, state, jax.tree.map(lambda a: a[0], inputs))

    def run(gradient: Gradient, at: Descent, rows: slice) -> Descent:
        value_and_grad = _GRADIENTS[gradient](explicit, moves_value=moves_value)

        def step(at: Descent, step_input):
            (value, new_state), grads = value_and_grad(at.params, at.state, step_input, consts)
            grads, new_state = checkpoint_name(grads, "inner_grads"), jax.lax.stop_gradient(new_state)
            updates, new_opt_state = update(grads, at.opt_state, at.params, value=value)
            return Descent(optax.apply_updates(at.params, updates), new_state, new_opt_state), None

        return _run(step, at, jax.tree.map(lambda a: a[rows], inputs), rows.stop - rows.start, remat)

    cut = 0 if truncate is None else max(num_steps - truncate, 0)
    return run(gradient, run("first_order", start, slice(0, cut)), slice(cut, num_steps))


def adam(learning_rate: optax.ScalarOrSchedule, *, eps_root: float = 1e-8, **kwargs) -> optax.GradientTransformation:
    r"""Return `optax.adam` for inner loops: ``eps_root`` keeps its derivative small.

    Where a gradient is zero, the derivative of $\hat m / (\sqrt{\hat v} + \epsilon)$ is $1 / \epsilon = 10^8$. That
    of $\hat m / \sqrt{\hat v + \epsilon_\text{root}}$ is $10^4$.

    Example:
      >>> optimizer = adam(0.1, b1=0.0)
    """
    return optax.adam(learning_rate, eps_root=eps_root, **kwargs)


def hoist(objective: Objective, *args: PyTree) -> tuple[Callable, list[jax.Array]]:
    """Turn an objective into ``(explicit, consts)`` with ``explicit(*args, consts) = objective(*args)``.

    Everything that depends on closed-over values alone is in ``consts``, computed once: features of a
    frozen trunk do not run again in every step.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(3.0)
      >>> explicit, consts = hoist(lambda p: (p * jnp.sum(x**2), ()), jnp.float32(1.0))
      >>> explicit(jnp.float32(2.0), consts)[0], len(consts)
      (Array(10., dtype=float32), 1)
    """
    closed, shape = jax.make_jaxpr(objective, return_shape=True)(*args)
    outside, inside, carried = _split(closed.jaxpr)
    consts = eval_jaxpr(outside, [], *closed.consts)
    treedef = jax.tree.structure(shape)

    def explicit(*args_and_consts):
        *args, consts = args_and_consts
        leaves = [*consts, *jax.tree.leaves(tuple(args))]
        return jax.tree.unflatten(treedef, eval_jaxpr(inside, [], *leaves))

    assert len(consts) == len(carried)
    return explicit, consts


def _split(jaxpr: Jaxpr) -> tuple[Jaxpr, Jaxpr, list]:
    """Split a program in two: what depends on constants alone, and the rest. Return both, and the values in between."""
    fixed, free = dict.fromkeys(jaxpr.constvars), set()  # from constants; from literals alone: in both halves
    before, after = [], []
    for eqn in jaxpr.eqns:
        variables = [v for v in eqn.invars if not hasattr(v, "val")]  # literals have a value
        known = all(v in fixed or v in free for v in variables) and not eqn.effects
        if known and not any(v in fixed for v in variables):
            free.update(eqn.outvars)
            before.append(eqn)
            after.append(eqn)
        elif known:
            fixed.update(dict.fromkeys(eqn.outvars))
            before.append(eqn)
        else:
            after.append(eqn)
    used = {v for eqn in after for v in eqn.invars if not hasattr(v, "val")}
    used |= {v for v in jaxpr.outvars if not hasattr(v, "val")}
    carried = [v for v in fixed if v in used]
    parts = partial(jaxpr.replace, constvars=[])
    outside = parts(invars=list(jaxpr.constvars), outvars=carried, eqns=before)
    return outside, parts(invars=[*carried, *jaxpr.invars], eqns=after), carried


def _reverse(f: Callable, *, moves_value: bool) -> Callable:
    del moves_value
    return jax.value_and_grad(f, has_aux=True)


def _first_order(f: Callable, *, moves_value: bool) -> Callable:
    # Stop the gradients, not the parameters: learned step sizes still get theirs.
    del moves_value
    return lambda *inputs: jax.lax.stop_gradient(jax.value_and_grad(f, has_aux=True)(*inputs))


_GRADIENTS = {"mixed": mixed_value_and_grad, "reverse": _reverse, "first_order": _first_order}


def _check(num_steps: int, gradient: str, remat: Any, truncate: Any) -> None:
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")
    if gradient not in _GRADIENTS:
        raise ValueError(f"`gradient` must be one of {list(_GRADIENTS)}, got {gradient!r}.")
    if remat != "sqrt" and not (isinstance(remat, int) and remat >= 0):
        raise ValueError(f"`remat` must be 0, a group size in steps, or 'sqrt', got {remat!r}.")
    if truncate is not None and truncate < 0:
        raise ValueError(f"`truncate` must be a number of steps >= 0 or None, got {truncate!r}.")


def _run(step: Callable, start: Descent, inputs: PyTree, num_steps: int, remat: int | Literal["sqrt"]) -> Descent:
    """Run the loop: plainly, with every step rematerialised, or in groups of steps and the remaining steps."""
    group = min(round(num_steps**0.5) if remat == "sqrt" else remat, num_steps)
    if num_steps == 0:
        return start
    if iterates.is_recording():
        end, path = jax.lax.scan(lambda at, inputs: (step(at, inputs)[0], at), start, inputs, length=num_steps)
        iterates.keep(path, end)
        return end
    if num_steps == 1:  # no loop: parameters shared by all tasks stay shared in the first step
        return step(start, jax.tree.map(lambda a: a[0], inputs))[0]
    if group == 0:
        return jax.lax.scan(step, start, inputs, length=num_steps)[0]
    saved = jax.checkpoint_policies.save_only_these_names("inner_grads")
    if group == 1:
        return jax.lax.scan(jax.checkpoint(step, policy=saved), start, inputs, length=num_steps)[0]

    @jax.checkpoint
    def steps(at: Descent, group_inputs):
        return jax.lax.scan(step, at, group_inputs, length=group)

    whole = num_steps - num_steps % group
    grouped = jax.tree.map(lambda a: a[:whole].reshape(-1, group, *a.shape[1:]), inputs)
    at = jax.lax.scan(steps, start, grouped, length=whole // group)[0]
    rest = jax.tree.map(lambda a: a[whole:], inputs)
    return jax.lax.scan(step, at, rest, length=num_steps - whole)[0] if whole < num_steps else at
