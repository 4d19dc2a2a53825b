"""Encoders of texts: a bag of embeddings, a bidirectional GRU, and a transformer.

All take ``{"ids": int32 [N, L], "length": int32 [N]}``, as `datasets.texts` makes it. Tokens at ``length`` and beyond
reach no output. Letters: N texts, L tokens, D features, H hidden units.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen

Pooling = Literal["mean", "cls", "last", "tokens"]
Tokens = dict[str, jax.Array]


class BagOfEmbeddings(linen.Module):
    """The mean of the embeddings of a text's tokens: their order is lost.

    Attributes:
      vocab_size: number of token ids.
      features: width D.
      num_outputs: width of ``head``; None returns the pooled features.
      pooling: ``"mean"``, or ``"tokens"`` for an output per token, ``[N, L, ...]`` with zeros as padding.
      dropout: rate, on the embeddings.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> x = {"ids": jnp.array([[5, 7, 0]]), "length": jnp.array([2])}
      >>> net = BagOfEmbeddings(16, features=4)
      >>> net.apply(net.init(jax.random.key(0), x), x).shape
      (1, 4)
    """

    vocab_size: int
    features: int = 128
    num_outputs: int | None = None
    pooling: Pooling = "mean"
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Tokens, *, deterministic: bool = True) -> jax.Array:
        check_pooling(self.pooling, ("mean", "tokens"))
        h, mask = _embedded(x, self.vocab_size, self.features, self.dropout, deterministic)
        return _head(pooled(h, mask, self.pooling), self.num_outputs, mask)


class BiGRU(linen.Module):
    """A gated recurrent network in each direction (Cho et al., 2014, https://arxiv.org/abs/1406.1078).

    Attributes:
      hidden: units H of each direction; the features are 2 H.
      pooling: ``"mean"`` over tokens, ``"last"``: the final state of each direction, or ``"tokens"``.
      vocab_size, features, num_outputs, dropout: as for `BagOfEmbeddings`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> x = {"ids": jnp.array([[5, 7, 0]]), "length": jnp.array([2])}
      >>> net = BiGRU(16, features=4, hidden=3, num_outputs=5)
      >>> net.apply(net.init(jax.random.key(0), x), x).shape
      (1, 5)
    """

    vocab_size: int
    features: int = 128
    hidden: int = 128
    num_outputs: int | None = None
    pooling: Pooling = "mean"
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Tokens, *, deterministic: bool = True) -> jax.Array:
        check_pooling(self.pooling, ("mean", "last", "tokens"))
        h, mask = _embedded(x, self.vocab_size, self.features, self.dropout, deterministic)
        outputs, ends = [], []
        for name in ("forward", "backward"):
            gates = linen.Dense(3 * self.hidden, name=f"{name}_input")(h)
            kernel, bias = _Recurrent(self.hidden, name=f"{name}_hidden")()
            output, end = gru(gates, kernel, bias, mask, reverse=name == "backward")
            outputs.append(output)
            ends.append(end)
        h = jnp.concatenate(outputs, -1)
        z = jnp.concatenate(ends, -1) if self.pooling == "last" else pooled(h, mask, self.pooling)
        return _head(z, self.num_outputs, mask)


class TransformerEncoder(linen.Module):
    """A transformer whose layers normalise their inputs (Xiong et al., 2020, https://arxiv.org/abs/2002.04745).

    Attributes:
      num_layers, num_heads: D is a multiple of the heads.
      max_length: number of positions, the largest L.
      pooling: ``"mean"`` over tokens, ``"cls"``: the first token, or ``"tokens"``.
      vocab_size, features, num_outputs, dropout: as for `BagOfEmbeddings`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> x = {"ids": jnp.array([[5, 7, 0]]), "length": jnp.array([2])}
      >>> net = TransformerEncoder(16, features=4, num_layers=1, num_heads=2)
      >>> net.apply(net.init(jax.random.key(0), x), x).shape
      (1, 4)
    """

    vocab_size: int
    features: int = 128
    num_layers: int = 2
    num_heads: int = 4
    max_length: int = 128
    num_outputs: int | None = None
    pooling: Pooling = "mean"
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Tokens, *, deterministic: bool = True) -> jax.Array:
        check_pooling(self.pooling, ("mean", "cls", "tokens"))
        check_heads(self.features, self.num_heads)
        check_length(x, self.max_length)
        h, mask = _embedded(x, self.vocab_size, self.features, self.dropout, deterministic)
        positions = linen.Embed(self.max_length, self.features, embedding_init=_scaled(self.features), name="positions")
        h = h + positions(jnp.arange(h.shape[1]))[None]
        for i in range(self.num_layers):
            h = TransformerLayer(self.num_heads, name=f"layer{i}")(h, mask)
        h = linen.LayerNorm(name="norm")(h)
        return _head(pooled(h, mask, self.pooling), self.num_outputs, mask)


class TransformerLayer(linen.Module):
    """Self-attention and two dense layers, each on normalised inputs and added to them."""

    num_heads: int

    @linen.compact
    def __call__(self, h: jax.Array, mask: jax.Array) -> jax.Array:
        width = h.shape[-1]
        z = linen.LayerNorm(name="norm1")(h)
        q, k, v = (linen.Dense(width, name=name)(z) for name in ("query", "key", "value"))
        h = h + linen.Dense(width, name="output")(attend(q, k, v, mask, self.num_heads))
        z = linen.gelu(linen.Dense(4 * width, name="up")(linen.LayerNorm(name="norm2")(h)))
        return h + linen.Dense(width, name="down")(z)


class _Recurrent(linen.Module):
    """The parameters of a recurrence of three gates."""

    hidden: int

    @linen.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        wide = 3 * self.hidden  # float32 like the dense layers: an initializer's own default follows jax_enable_x64
        kernel = self.param("kernel", linen.initializers.orthogonal(), (self.hidden, wide), jnp.float32)
        return kernel, self.param("bias", linen.initializers.zeros, (wide,), jnp.float32)


def gru(
    gates: jax.Array, kernel: jax.Array, bias: jax.Array, mask: jax.Array, *, reverse: bool
) -> tuple[jax.Array, jax.Array]:
    r"""Run a gated recurrence: $h' = (1 - u) \odot n + u \odot h$; where the mask is False the state stays.

    $r, u = \sigma(x_{r, u} + h U_{r, u} + b_{r, u})$ and $n = \tanh(x_n + r \odot (h U_n + b_n))$.

    Args:
      gates: $x$, ``[N, L, 3 H]``: the inputs' part of reset, update and candidate.
      kernel, bias: $U$ ``[H, 3 H]`` and $b$ ``[3 H]``.
      mask: bool ``[N, L]``.
      reverse: from the last token to the first.

    Returns:
      All states ``[N, L, H]``, and the final one ``[N, H]``.
    """

    def step(h: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, present = inputs
        recurrent = h @ kernel + jnp.broadcast_to(bias, x.shape)
        (xr, xu, xn), (hr, hu, hn) = jnp.split(x, 3, -1), jnp.split(recurrent, 3, -1)
        update = jax.nn.sigmoid(xu + hu)
        new = (1 - update) * jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn) + update * h
        h = jnp.where(present[:, None], new, h)
        return h, h

    start = jnp.zeros((gates.shape[0], kernel.shape[0]), gates.dtype)
    by_token = jnp.moveaxis(gates, 1, 0), mask.T
    end, states = jax.lax.scan(step, start, by_token, reverse=reverse)
    return jnp.moveaxis(states, 0, 1), end


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, num_heads: int) -> jax.Array:
    """Attend to the tokens of the same text that the mask ``[N, L]`` shows; all arrays are ``[N, L, D]``."""
    split = lambda a: a.reshape(*a.shape[:2], num_heads, -1)
    scores = jnp.einsum("nqhd,nkhd->nhqk", split(q), split(k)) / (q.shape[-1] // num_heads) ** 0.5
    shares = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min))
    return jnp.einsum("nhqk,nkhd->nqhd", shares, split(v)).reshape(q.shape)  # jax.nn's own would compute in float32


def token_mask(x: Tokens) -> jax.Array:
    """Return which tokens are no padding, bool ``[N, L]``."""
    return jnp.arange(x["ids"].shape[1])[None] < x["length"][:, None]


def pooled(h: jax.Array, mask: jax.Array, pooling: Pooling) -> jax.Array:
    """Pool tokens ``[N, L, D]`` to texts ``[N, D]``, or set padding to zero; the mean of no token is zero."""
    h = jnp.where(mask[..., None], h, 0)
    if pooling == "tokens":
        return h
    return h[:, 0] if pooling == "cls" else h.sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1).astype(h.dtype)


def check_pooling(pooling: str, known: tuple[str, ...]) -> None:
    """Raise a ValueError for a way of pooling that the encoder does not have."""
    if pooling not in known:
        raise ValueError(f"`pooling` must be one of {', '.join(map(repr, known))}, got {pooling!r}.")


def check_heads(features: int, num_heads: int) -> None:
    """Raise a ValueError if the heads do not divide the features."""
    if num_heads < 1 or features % num_heads:
        raise ValueError(f"`features` {features} must be a multiple of `num_heads`, got {num_heads}.")


def check_length(x: Tokens, max_length: int) -> None:
    """Raise a ValueError if the texts have more tokens than there are positions."""
    if x["ids"].shape[1] > max_length:
        raise ValueError(
            f"`x` has {x['ids'].shape[1]} tokens, but the encoder has `max_length` {max_length} positions. Raise it, "
            "or pass a smaller `length` to `datasets.texts`."
        )


def _scaled(features: int) -> Any:
    return linen.initializers.normal(features**-0.5)


def _embedded(
    x: Tokens, vocab_size: int, features: int, rate: float, deterministic: bool
) -> tuple[jax.Array, jax.Array]:
    h = linen.Embed(vocab_size, features, embedding_init=_scaled(features), name="embedding")(x["ids"])
    if rate:
        h = linen.Dropout(rate, name="dropout")(h, deterministic=deterministic)
    return h, token_mask(x)


def _head(z: jax.Array, num_outputs: int | None, mask: jax.Array) -> jax.Array:
    if num_outputs is None:
        return z
    logits = linen.Dense(num_outputs, name="head")(z)
    return jnp.where(mask[..., None], logits, 0) if logits.ndim == 3 else logits
