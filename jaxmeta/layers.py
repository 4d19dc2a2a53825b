"""Small layers on plain arrays, for algorithms with a network of their own.

Each is a pair: a function that makes float32 parameters, a dict, and one that applies them.

Letters: I inputs, O outputs, H hidden units; leading axes are arbitrary.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .types import Key

Cell = tuple[jax.Array, jax.Array]  # hidden and cell state of an LSTM, [..., H] each


def dense_init(key: Key, num_in: int, num_out: int, *, scale: float = 1.0) -> dict[str, jax.Array]:
    r"""Return a kernel ``[I, O]`` with entries of variance ``scale**2 / I``, and a bias of zeros.

    Example:
      >>> dense_init(jax.random.key(0), 3, 4)["kernel"].shape
      (3, 4)
    """
    kernel = jax.random.normal(key, (num_in, num_out), jnp.float32) * scale / max(num_in, 1) ** 0.5
    return {"kernel": kernel, "bias": jnp.zeros(num_out, jnp.float32)}


def dense(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Apply an affine map to the last axis, ``[..., I] -> [..., O]``."""
    y = x @ params["kernel"]
    return y + jnp.broadcast_to(params["bias"], y.shape)


def mlp_init(key: Key, widths: Sequence[int]) -> dict[str, dict[str, jax.Array]]:
    """Return dense layers from ``widths[0]`` inputs to ``widths[-1]`` outputs, with He's variance except for the last.

    Example:
      >>> sorted(mlp_init(jax.random.key(0), (3, 8, 1)))
      ['dense0', 'dense1']
    """
    keys, last = jax.random.split(key, len(widths) - 1), len(widths) - 2
    shapes = enumerate(zip(keys, widths, widths[1:], strict=False))
    return {f"dense{i}": dense_init(k, a, b, scale=1.0 if i == last else 2**0.5) for i, (k, a, b) in shapes}


def mlp(params: dict[str, dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    """Apply `dense` layers with ReLU between them."""
    for i in range(len(params)):
        x = dense(params[f"dense{i}"], jax.nn.relu(x) if i else x)
    return x


def lstm_init(key: Key, num_in: int, num_hidden: int) -> dict[str, jax.Array]:
    """Return the four gates of an LSTM as one `dense` of ``[input, hidden]``; the forget gate starts open, with bias 1.

    Example:
      >>> lstm_init(jax.random.key(0), 3, 4)["kernel"].shape
      (7, 16)
    """
    params = dense_init(key, num_in + num_hidden, 4 * num_hidden)
    return {**params, "bias": params["bias"].at[num_hidden : 2 * num_hidden].set(1.0)}


def lstm(params: dict[str, jax.Array], state: Cell, x: jax.Array) -> Cell:
    r"""Take one step: $c' = f \circ c + i \circ \tanh g$ and $h' = o \circ \tanh c'$; $(i, f, g, o)$ is of $[x, h]$."""
    hidden, cell = state
    write, forget, new, out = jnp.split(dense(params, jnp.concatenate([x, hidden], -1)), 4, -1)
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(write) * jnp.tanh(new)
    return jax.nn.sigmoid(out) * jnp.tanh(cell), cell


def lstm_start(params: dict[str, jax.Array], *leading: int, dtype: jnp.dtype | None = None) -> Cell:
    """Return zeros ``[*leading, H]`` for hidden and cell state; their dtype is the parameters' by default."""
    zeros = jnp.zeros((*leading, params["bias"].shape[0] // 4), dtype or params["bias"].dtype)
    return zeros, zeros
