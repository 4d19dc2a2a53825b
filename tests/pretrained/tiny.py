"""A BERT of two layers, 8 wide, with random weights, as a folder: what a publisher would upload."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from jaxmeta.datasets import train_tokenizer

CONFIG = {
    "model_type": "bert",
    "vocab_size": 64,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


def tensors(config: dict = CONFIG, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the published names; scales and biases are no ones and zeros."""
    rng, d, inner = np.random.default_rng(seed), config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        "embeddings.LayerNorm.weight": (d,),
        "embeddings.LayerNorm.bias": (d,),
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            shapes |= {f"{layer}.attention.self.{part}.weight": (d, d), f"{layer}.attention.self.{part}.bias": (d,)}
        shapes |= {f"{layer}.attention.output.dense.weight": (d, d), f"{layer}.attention.output.dense.bias": (d,)}
        shapes |= {f"{layer}.intermediate.dense.weight": (inner, d), f"{layer}.intermediate.dense.bias": (inner,)}
        shapes |= {f"{layer}.output.dense.weight": (d, inner), f"{layer}.output.dense.bias": (d,)}
        for part in ("attention.output", "output"):
            shapes |= {f"{layer}.{part}.LayerNorm.weight": (d,), f"{layer}.{part}.LayerNorm.bias": (d,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def publish(folder: Path, weights: dict[str, np.ndarray] | None = None, *, tokenizer: bool = False, **changes) -> Path:
    """Write a folder, with a tokenizer of letters if wanted; ``changes`` replace entries of config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file(tensors() if weights is None else weights, folder / "model.safetensors")
    if tokenizer:
        letters = [" ".join("abcdefghijklmnopqrstuvwxyz")]
        train_tokenizer(letters, vocab_size=CONFIG["vocab_size"]).save(str(folder / "tokenizer.json"))
    return folder
