"""Networks of pairs: embeddings of the features of two sides, joined, and decision layers (the MeLU paper)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen


class Interactions(linen.Module):
    """An embedding of every feature of a user and an item, and dense layers with ReLU on all of them.

    Inputs are a dict of features by name: categories, int ``[N]``, which are looked up in a table, or numbers, float
    ``[N, F]`` (several genres as ones), whose embedding is the mean of their columns' by their size. Features that
    ``sizes`` does not name are not read. The embeddings' parameters are ``embed_<name>``, the decision layers'
    ``dense0``, ``dense1`` ... and ``head``. The identities ``"item"`` and ``"user"`` begin as zeros, so that those that
    training never meets add nothing.

    Attributes:
      sizes: the number of categories, or of columns, of every feature to read: ``Ratings.sizes``, or a part of it.
      width: of an embedding.
      features: widths of the hidden layers.
      num_outputs: width of ``head``; None returns the last hidden layer.
      centre: a constant that is added to the outputs of ``head``: the mean rating.
      dtype: of the computation; parameters stay float32.

    Example:
      >>> x = {"age": jnp.array([3, 1]), "genre": jnp.ones((2, 18)), "zip": jnp.array([5, 6])}
      >>> net = Interactions({"age": 7, "genre": 18}, num_outputs=1)
      >>> params = net.init(jax.random.key(0), x)["params"]
      >>> sorted(params), net.apply({"params": params}, x).shape
      (['dense0', 'dense1', 'embed_age', 'embed_genre', 'head'], (2, 1))
    """

    sizes: Mapping[str, int]
    width: int = 32
    features: Sequence[int] = (64, 64)
    num_outputs: int | None = None
    centre: float = 0.0
    dtype: Any = None

    @linen.compact
    def __call__(self, x: Mapping[str, jax.Array]) -> jax.Array:
        missing = sorted({*self.sizes} - {*x})
        if missing or not self.sizes:
            raise ValueError(f"`sizes` names {missing or 'nothing'}, but the features of an example are {sorted(x)}.")
        z = jnp.concatenate([self._embed(name, x[name]) for name in sorted(self.sizes)], -1)
        for i, width in enumerate(self.features):
            z = linen.Dense(width, kernel_init=linen.initializers.he_normal(), dtype=self.dtype, name=f"dense{i}")(z)
            z = linen.relu(z)
        if self.num_outputs is None:
            return z
        return self.centre + linen.Dense(self.num_outputs, dtype=self.dtype, name="head")(z)

    def _embed(self, name: str, feature: jax.Array) -> jax.Array:
        size, name_of = self.sizes[name], f"embed_{name}"
        init = linen.initializers.zeros if name in ("item", "user") else linen.initializers.normal(self.width**-0.5)
        if jnp.issubdtype(feature.dtype, jnp.integer):
            return linen.Embed(size, self.width, embedding_init=init, dtype=self.dtype, name=name_of)(feature)
        if feature.shape[1:] != (size,):
            raise ValueError(f"`sizes` has {size} columns for {name!r}, but the feature is {feature.shape}.")
        total = jnp.abs(feature).sum(-1, keepdims=True)
        feature = feature / jnp.where(total == 0, 1, total)
        dense = linen.Dense(self.width, use_bias=False, kernel_init=init, dtype=self.dtype, name=name_of)
        return dense(feature)
