"""Call any optax optimizer with further arguments, of which it takes those that it asks for."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax


def update_of(optimizer: optax.GradientTransformation) -> Callable[..., tuple[Any, Any]]:
    """Return the optimizer's `update`, without the keyword arguments that it does not take.

    `optax.with_extra_args_support` does this for optimizers whose type takes none. Others name those that they take,
    and refuse the rest.

    Example:
      >>> sam = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1))
      >>> update, _ = update_of(sam)(1.0, sam.init(1.0), 1.0, value=2.0)
    """
    update: Any = optax.with_extra_args_support(optimizer).update
    parameters = inspect.signature(update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return update

    def of_accepted(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        return update(updates, state, params, **{name: extra[name] for name in extra if name in parameters})

    return of_accepted


def reads_value(update: Callable[..., tuple[Any, Any]], opt_state: Any, params: Any) -> bool:
    """Return whether an `update` looks at the argument ``value``.

    Example:
      >>> params, of = {"w": 1.0}, lambda optimizer: (update_of(optimizer), optimizer.init({"w": 1.0}))
      >>> [reads_value(*of(optimizer), params) for optimizer in (optax.sgd(0.1), optax.polyak_sgd())]
      [False, True]
    """
    program = jax.make_jaxpr(lambda value: update(params, opt_state, params, value=value))(jnp.float32(0)).jaxpr
    (value,) = program.invars
    return value in program.outvars or any(value in eqn.invars for eqn in program.eqns)
