"""Initialisers, by the names that papers use."""

from collections.abc import Callable

import jax
from jax.nn import initializers

Initializer = str | Callable[..., jax.Array]

_NAMED = {
    "xavier": initializers.xavier_uniform(),  # +-sqrt(6 / (fan_in + fan_out)): MAML's convolutions
    "he": initializers.he_normal(),  # variance 2 / fan_in: ReLU networks
    "truncated_normal": initializers.truncated_normal(0.01),  # standard deviation 0.01: MAML's MLPs
    "normal": initializers.normal(1.0),  # standard deviation 1: the head of MAML's Omniglot network
    "torch": initializers.variance_scaling(1 / 3, "fan_in", "uniform"),  # +-1 / sqrt(fan_in): PyTorch's convolutions
    "ones": initializers.ones,  # BatchNorm's scale
    "uniform": initializers.uniform(1.0),  # 0 to 1: BatchNorm's scale in PyTorch up to 1.1 (pytorch/pytorch#12259)
}


def initializer(name: Initializer) -> Callable[..., jax.Array]:
    """Return an initialiser ``(key, shape, dtype) -> array`` from its name; functions pass through.

    Args:
      name: ``"xavier"``, ``"he"``, ``"truncated_normal"``, ``"normal"``, ``"torch"``, ``"ones"``, ``"uniform"``, or any
        jax initialiser.

    Raises:
      ValueError: for an unknown name.

    Example:
      >>> import jax
      >>> initializer("he")(jax.random.key(0), (3, 3, 1, 64)).shape
      (3, 3, 1, 64)
    """
    if callable(name):
        return name
    if name not in _NAMED:
        raise ValueError(
            f"The initialiser must be one of {sorted(_NAMED)} or a function (key, shape, dtype), got {name!r}."
        )
    return _NAMED[name]
