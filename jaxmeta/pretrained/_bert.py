"""BERT-type sentence encoders from a folder of published weights. Letters: N texts, L tokens, D width, H heads.

Devlin, Chang, Lee and Toutanova, 2019, https://arxiv.org/abs/1810.04805; pooled to sentences as by Reimers and
Gurevych, 2019, https://arxiv.org/abs/1908.10084
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..datasets import read_tokenizer
from ..models import from_nnx
from ..storage import read_json
from ..types import Model
from ._tensors import read_tensors, tensor_names

Pooling = Literal["mean", "cls", "tokens"]
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": jax.nn.gelu,
    "gelu_pytorch_tanh": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class BertConfig(NamedTuple):
    """The sizes of an encoder: the fields of config.json that decide what it computes."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str


class Pretrained(NamedTuple):
    """A published encoder.

    Attributes:
      model: its `Model`; ``init`` returns the published weights, whatever the key.
      build: ``(rngs: nnx.Rngs) -> module``: the nnx module with these weights, for `from_nnx` or for flax itself.
      tokenizer: the `tokenizers.Tokenizer` that it was trained with, for `datasets.texts`; None where the folder has
        none.
      config: its sizes.
    """

    model: Model
    build: Callable[[Any], Any]
    tokenizer: Any
    config: BertConfig


def bert(
    folder: str | os.PathLike[str], *, pooling: Pooling | None = None, normalize: bool | None = None
) -> Pretrained:
    r"""Read a BERT-type encoder: ``config.json``, ``model.safetensors`` and, if there, ``tokenizer.json``.

    The model maps ``{"ids": int32 [N, L], "length": int32 [N]}``, which `datasets.texts` makes, to sentence vectors
    ``[N, D]``: $\frac{1}{\ell} \sum_{t < \ell} h_t$ over the $\ell$ tokens of a text for ``"mean"``, $h_0$ for
    ``"cls"``. Tokens at ``length`` and beyond reach no output. There is no dropout.

    Args:
      folder: a local folder, as published for sentence-transformers or transformers (``model_type`` ``"bert"``).
      pooling: ``"mean"``, ``"cls"``, or ``"tokens"`` for all of them, ``[N, L, D]`` with zeros as padding. By default
        what ``1_Pooling/config.json`` says, else ``"mean"``.
      normalize: divide sentence vectors by their length. By default what ``modules.json`` says, else False.

    Returns:
      A `Pretrained`.

    Raises:
      ValueError: if a file is missing, damaged, or of another architecture; if shapes and configuration differ.
      ImportError: without ``pip install 'jaxmeta[text]'``.

    Example:
      >>> import jaxmeta as jm
      >>> encoder = jm.pretrained.bert("all-MiniLM-L6-v2")  # doctest: +SKIP
      >>> data = jm.datasets.texts(["hi", "bye"], ["a", "b"], tokenizer=encoder.tokenizer, length=8)  # doctest: +SKIP
      >>> jm.datasets.features(data, encoder.model).x.shape  # doctest: +SKIP
      (2, 384)
    """
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"`folder`: {str(path)!r} is no folder. Expected config.json and model.safetensors in one.")
    config = read_config(path)
    pooling = _pooling(path) if pooling is None else pooling
    if pooling not in ("mean", "cls", "tokens"):
        raise ValueError(f"`pooling` must be 'mean', 'cls' or 'tokens', got {pooling!r}.")
    normalize = _normalizes(path) if normalize is None else normalize
    if normalize and pooling == "tokens":
        normalize = False  # sentence vectors alone are normalised
    params = _params(path, config)
    tokenizer = read_tokenizer(path) if (path / "tokenizer.json").is_file() else None
    if tokenizer is not None and tokenizer.get_vocab_size() > config.vocab_size:
        raise ValueError(
            f"`folder`: tokenizer.json in {str(path)!r} has {tokenizer.get_vocab_size():,} tokens, but config.json has "
            f"`vocab_size` {config.vocab_size:,}. The two files do not belong together."
        )

    def build(rngs: Any) -> BertEncoder:
        module = BertEncoder(config, pooling=pooling, normalize=normalize, rngs=rngs)
        nnx.update(module, jax.tree.map(jnp.asarray, params))
        return module

    return Pretrained(from_nnx(build), build, tokenizer, config)


class BertEncoder(nnx.Module):
    """The encoder as an nnx module: embeddings, then layers with the norm after each residual sum.

    Args:
      config: sizes.
      pooling, normalize: as for `bert`.
    """

    def __init__(self, config: BertConfig, *, pooling: Pooling = "mean", normalize: bool = False, rngs: nnx.Rngs):
        width, zeros = config.hidden_size, nnx.initializers.zeros_init()  # the weights come from a file

        def table(size: int) -> nnx.Embed:
            return nnx.Embed(size, width, embedding_init=zeros, rngs=rngs)

        self.words, self.positions = table(config.vocab_size), table(config.max_position_embeddings)
        self.types = table(config.type_vocab_size)
        self.norm = nnx.LayerNorm(width, epsilon=config.layer_norm_eps, rngs=rngs)
        for i in range(config.num_hidden_layers):
            setattr(self, f"layer{i}", BertLayer(config, rngs=rngs))
        self.config, self.pooling, self.normalize = config, pooling, normalize

    def __call__(self, x: dict[str, jax.Array]) -> jax.Array:
        ids, length = x["ids"], x["length"]
        if ids.shape[1] > self.config.max_position_embeddings:
            raise ValueError(
                f"`x` has {ids.shape[1]} tokens, but the encoder has {self.config.max_position_embeddings} positions. "
                "Pass a smaller `length` to `datasets.texts`."
            )
        mask = jnp.arange(ids.shape[1])[None] < length[:, None]
        h = self.words(ids) + self.positions(jnp.arange(ids.shape[1]))[None] + self.types(jnp.zeros_like(ids))
        h = self.norm(h)
        for i in range(self.config.num_hidden_layers):
            h = getattr(self, f"layer{i}")(h, mask)
        return self._pool(jnp.where(mask[..., None], h, 0), length)

    def _pool(self, h: jax.Array, length: jax.Array) -> jax.Array:
        if self.pooling == "tokens":
            return h
        z = h[:, 0] if self.pooling == "cls" else h.sum(1) / jnp.maximum(length, 1)[:, None].astype(h.dtype)
        return z * jax.lax.rsqrt(jnp.maximum(jnp.square(z).sum(-1, keepdims=True), 1e-24)) if self.normalize else z


class BertLayer(nnx.Module):
    """Self-attention over a text's own tokens, then two dense layers; each is added to its input and normalised."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()

        def dense(fan_in: int, fan_out: int) -> nnx.Linear:
            return nnx.Linear(fan_in, fan_out, kernel_init=zeros, rngs=rngs)

        width = config.hidden_size
        self.query, self.key, self.value, self.output = (dense(width, width) for _ in range(4))
        self.up, self.down = dense(width, config.intermediate_size), dense(config.intermediate_size, width)
        self.norm1, self.norm2 = (nnx.LayerNorm(width, epsilon=config.layer_norm_eps, rngs=rngs) for _ in range(2))
        self.heads, self.act = config.num_attention_heads, config.hidden_act

    def __call__(self, h: jax.Array, mask: jax.Array) -> jax.Array:
        split = lambda a: a.reshape(*a.shape[:2], self.heads, -1)
        q, k, v = split(self.query(h)), split(self.key(h)), split(self.value(h))
        mixed = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None, None, :])
        h = self.norm1(h + self.output(mixed.reshape(h.shape)))
        return self.norm2(h + self.down(ACTIVATIONS[self.act](self.up(h))))


def read_config(folder: Path) -> BertConfig:
    """Read and bound the sizes in config.json.

    Raises:
      ValueError: if it is missing, damaged, of another architecture, or has an absurd size.
    """
    about, where = _json(folder / "config.json"), f"`folder`: config.json in {str(folder)!r}"
    if about is None:
        raise ValueError(
            f"`folder`: {str(folder)!r} has no config.json. Pass the folder that holds it and the weights."
        )
    found = about.get("model_type")
    positions = about.get("position_embedding_type", "absolute")
    if found != "bert" or positions != "absolute":
        raise ValueError(
            f"{where} is of another architecture: `model_type` is {str(found)[:80]!r} with {str(positions)[:80]!r} "
            "positions. Only 'bert' with 'absolute' positions is read."
        )
    most = {"vocab_size": 1 << 21, "num_hidden_layers": 128, "num_attention_heads": 256, "type_vocab_size": 64}
    sizes: dict[str, int] = {}
    for name in BertConfig._fields[:7]:
        value, bound = about.get(name), most.get(name, 1 << 16)
        if type(value) is not int or not 1 <= value <= bound:
            raise ValueError(f"{where}: `{name}` is {str(value)[:80]}, but must be a whole number from 1 to {bound:,}.")
        sizes[name] = value
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise ValueError(
            f"{where}: `hidden_size` {sizes['hidden_size']} is no multiple of `num_attention_heads` "
            f"{sizes['num_attention_heads']}."
        )
    epsilon, act = about.get("layer_norm_eps", 1e-12), about.get("hidden_act", "gelu")
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ValueError(f"{where}: `layer_norm_eps` is {str(epsilon)[:80]}, but must be between 0 and 1.")
    if act not in ACTIVATIONS:
        raise ValueError(f"{where}: `hidden_act` is {str(act)[:80]!r}; {', '.join(ACTIVATIONS)} are known.")
    return BertConfig(**sizes, layer_norm_eps=epsilon, hidden_act=act)


def _params(folder: Path, config: BertConfig) -> dict[str, Any]:
    """Read the weights as the nested dict of the module's parameters."""
    path, what = folder / "model.safetensors", f"a BERT encoder of {config.num_hidden_layers} layers"
    prefix = "bert." if any(name.startswith("bert.") for name in tensor_names(path, "folder")) else ""
    places = _places(config)
    shapes = {prefix + name: shape for name, (_, shape) in places.items()}
    tensors = read_tensors(path, "folder", shapes, what)
    params: dict[str, Any] = {}
    for name, (place, _) in places.items():
        *folders, leaf = place
        tensor, inside = tensors[prefix + name], params
        for part in folders:
            inside = inside.setdefault(part, {})
        inside[leaf] = np.ascontiguousarray(tensor.T) if leaf == "kernel" else tensor
    return params


def _places(config: BertConfig) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Map each tensor's published name to its path in the module, and its published shape."""
    width, inner = config.hidden_size, config.intermediate_size
    tables = {
        "word": ("words", config.vocab_size),
        "position": ("positions", config.max_position_embeddings),
        "token_type": ("types", config.type_vocab_size),
    }
    places: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def norm(name: str, *place: str) -> None:
        places[f"{name}.weight"] = (*place, "scale"), (width,)
        places[f"{name}.bias"] = (*place, "bias"), (width,)

    for kind, (ours, size) in tables.items():
        places[f"embeddings.{kind}_embeddings.weight"] = (ours, "embedding"), (size, width)
    norm("embeddings.LayerNorm", "norm")
    for i in range(config.num_hidden_layers):
        layer, ours = f"encoder.layer.{i}", f"layer{i}"
        dense = {
            "attention.self.query": ("query", width, width),
            "attention.self.key": ("key", width, width),
            "attention.self.value": ("value", width, width),
            "attention.output.dense": ("output", width, width),
            "intermediate.dense": ("up", inner, width),
            "output.dense": ("down", width, inner),
        }
        for name, (place, fan_out, fan_in) in dense.items():
            places[f"{layer}.{name}.weight"] = (ours, place, "kernel"), (fan_out, fan_in)
            places[f"{layer}.{name}.bias"] = (ours, place, "bias"), (fan_out,)
        norm(f"{layer}.attention.output.LayerNorm", ours, "norm1")
        norm(f"{layer}.output.LayerNorm", ours, "norm2")
    return places


def _pooling(folder: Path) -> Pooling:
    about = _json(folder / "1_Pooling" / "config.json") or {}
    chosen = [name for name, value in about.items() if name.startswith("pooling_mode_") and value is True]
    known: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(chosen) > 1 or not set(chosen) <= known.keys():
        raise ValueError(
            f"`folder`: 1_Pooling in {str(folder)!r} asks for {', '.join(chosen)[:200]}, which is not one of mean and "
            "cls. Pass `pooling`."
        )
    return known[chosen[0]] if chosen else "mean"


def _normalizes(folder: Path) -> bool:
    parts = _json(folder / "modules.json", list) or []
    return any(isinstance(part, dict) and str(part.get("type", "")).endswith(".Normalize") for part in parts)


def _json(path: Path, kind: type = dict) -> Any:
    """Read a JSON file of the folder; None if it is not there."""
    if not path.is_file():
        return None
    try:
        about = read_json(path)
    except ValueError as error:
        raise ValueError(f"`folder`: {error}") from error
    if not isinstance(about, kind):
        raise ValueError(
            f"`folder`: {str(path)!r} holds no JSON {'object' if kind is dict else 'list'}; it is damaged."
        )
    return about
