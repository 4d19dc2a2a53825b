"""The encoders of texts as nnx modules; parameter names agree with the linen ones."""

import jax
import jax.numpy as jnp
from flax import nnx

from ._text import (
    Pooling,
    Tokens,
    attend,
    check_heads,
    check_length,
    check_pooling,
    gru,
    pooled,
    token_mask,
)


class NnxBagOfEmbeddings(nnx.Module):
    """`BagOfEmbeddings` as an nnx module.

    Args:
      vocab_size, features, num_outputs, pooling, dropout: as for `BagOfEmbeddings`.

    Example:
      >>> import jax.numpy as jnp
      >>> x = {"ids": jnp.array([[5, 7, 0]]), "length": jnp.array([2])}
      >>> NnxBagOfEmbeddings(16, features=4, rngs=nnx.Rngs(0))(x).shape
      (1, 4)
    """

    def __init__(
        self,
        vocab_size: int,
        features: int = 128,
        num_outputs: int | None = None,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_pooling(pooling, ("mean", "tokens"))
        self.embedding = _embedding(vocab_size, features, rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.head = None if num_outputs is None else nnx.Linear(features, num_outputs, rngs=rngs)
        self.pooling: Pooling = pooling

    def __call__(self, x: Tokens) -> jax.Array:
        h, mask = _dropped(_looked_up(self.embedding, x["ids"]), self.dropout), token_mask(x)
        return _headed(pooled(h, mask, self.pooling), self.head, mask)


class NnxBiGRU(nnx.Module):
    """`BiGRU` as an nnx module.

    Args:
      vocab_size, features, hidden, num_outputs, pooling, dropout: as for `BiGRU`.

    Example:
      >>> import jax.numpy as jnp
      >>> x = {"ids": jnp.array([[5, 7, 0]]), "length": jnp.array([2])}
      >>> NnxBiGRU(16, features=4, hidden=3, rngs=nnx.Rngs(0))(x).shape
      (1, 6)
    """

    def __init__(
        self,
        vocab_size: int,
        features: int = 128,
        hidden: int = 128,
        num_outputs: int | None = None,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_pooling(pooling, ("mean", "last", "tokens"))
        self.embedding = _embedding(vocab_size, features, rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        for name in ("forward", "backward"):
            setattr(self, f"{name}_input", nnx.Linear(features, 3 * hidden, rngs=rngs))
            orthogonal = nnx.initializers.orthogonal()
            setattr(self, f"{name}_hidden", nnx.Linear(hidden, 3 * hidden, kernel_init=orthogonal, rngs=rngs))
        self.head = None if num_outputs is None else nnx.Linear(2 * hidden, num_outputs, rngs=rngs)
        self.pooling: Pooling = pooling

    def __call__(self, x: Tokens) -> jax.Array:
        h, mask = _dropped(_looked_up(self.embedding, x["ids"]), self.dropout), token_mask(x)
        outputs, ends = [], []
        for name in ("forward", "backward"):
            recurrence = getattr(self, f"{name}_hidden")
            gates = getattr(self, f"{name}_input")(h)
            output, end = gru(gates, recurrence.kernel[...], recurrence.bias[...], mask, reverse=name == "backward")
            outputs.append(output)
            ends.append(end)
        h = jnp.concatenate(outputs, -1)
        z = jnp.concatenate(ends, -1) if self.pooling == "last" else pooled(h, mask, self.pooling)
        return _headed(z, self.head, mask)


class NnxTransformerEncoder(nnx.Module):
    """`TransformerEncoder` as an nnx module.

    Args:
      vocab_size, features, num_layers, num_heads, max_length, num_outputs, pooling, dropout: as for
        `TransformerEncoder`.

    Example:
      >>> import jax.numpy as jnp
      >>> x = {"ids": jnp.array([[5, 7, 0]]), "length": jnp.array([2])}
      >>> NnxTransformerEncoder(16, features=4, num_layers=1, num_heads=2, rngs=nnx.Rngs(0))(x).shape
      (1, 4)
    """

    def __init__(
        self,
        vocab_size: int,
        features: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        max_length: int = 128,
        num_outputs: int | None = None,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_pooling(pooling, ("mean", "cls", "tokens"))
        check_heads(features, num_heads)
        self.embedding = _embedding(vocab_size, features, rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.positions = _embedding(max_length, features, rngs)
        for i in range(num_layers):
            setattr(self, f"layer{i}", NnxTransformerLayer(features, num_heads, rngs=rngs))
        self.norm = nnx.LayerNorm(features, rngs=rngs)
        self.head = None if num_outputs is None else nnx.Linear(features, num_outputs, rngs=rngs)
        self.pooling: Pooling = pooling
        self.num_layers, self.max_length = num_layers, max_length

    def __call__(self, x: Tokens) -> jax.Array:
        check_length(x, self.max_length)
        h, mask = _dropped(_looked_up(self.embedding, x["ids"]), self.dropout), token_mask(x)
        h = h + _looked_up(self.positions, jnp.arange(h.shape[1]))[None]
        for i in range(self.num_layers):
            h = getattr(self, f"layer{i}")(h, mask)
        return _headed(pooled(self.norm(h), mask, self.pooling), self.head, mask)


class NnxTransformerLayer(nnx.Module):
    """One layer of `NnxTransformerEncoder`."""

    def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs):
        dense = lambda fan_in, fan_out: nnx.Linear(fan_in, fan_out, rngs=rngs)
        self.query, self.key, self.value, self.output = (dense(width, width) for _ in range(4))
        self.up, self.down = dense(width, 4 * width), dense(4 * width, width)
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.num_heads = num_heads

    def __call__(self, h: jax.Array, mask: jax.Array) -> jax.Array:
        z = self.norm1(h)
        h = h + self.output(attend(self.query(z), self.key(z), self.value(z), mask, self.num_heads))
        return h + self.down(nnx.gelu(self.up(self.norm2(h))))


def _embedding(size: int, features: int, rngs: nnx.Rngs) -> nnx.Embed:
    return nnx.Embed(size, features, embedding_init=nnx.initializers.normal(features**-0.5), rngs=rngs)


def _looked_up(table: nnx.Embed, ids: jax.Array) -> jax.Array:
    return jnp.take(table.embedding[...], ids, axis=0)  # the module's call rounds to the dtype that it was built with


def _dropped(h: jax.Array, dropout: nnx.Dropout | None) -> jax.Array:
    return h if dropout is None else dropout(h)


def _headed(z: jax.Array, head: nnx.Linear | None, mask: jax.Array) -> jax.Array:
    if head is None:
        return z
    logits = head(z)
    return jnp.where(mask[..., None], logits, 0) if logits.ndim == 3 else logits
