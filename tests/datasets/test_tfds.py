"""`from_tfds`: a builder of the user's own, prepared and read where TensorFlow cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxmeta import datasets
from jaxmeta.datasets import _tfds

ROOT = Path(__file__).resolve().parents[2]

# A process in which `import tensorflow` fails, with a builder of twelve 1-bit images in three classes.
PREAMBLE = """
import io, sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
import numpy as np, tensorflow_datasets as tfds
from PIL import Image
from jaxmeta.datasets import from_tfds

class Toy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image, label = tfds.features.Image(shape=(8, 6, 1)), tfds.features.ClassLabel(names=["a", "b", "c"])
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        return {"train": self._generate_examples(12), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            file, image = io.BytesIO(), Image.new("1", (6, 8))
            image.putpixel((i % 3, i // 3), 1)  # a class is a column
            image.save(file, "PNG")
            yield i, {"image": file.getvalue(), "label": i % 3}

folder = sys.argv[1]
"""
EPILOGUE = """
try:
    import tensorflow
except ImportError:
    assert "tensorflow" not in sys.modules
    print("no TensorFlow")
"""


def run(code, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PREAMBLE + code + EPILOGUE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("no TensorFlow")
    return done.stdout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the toy data set, prepared by `from_tfds` itself."""
    folder = tmp_path_factory.mktemp("tfds")
    run("assert from_tfds(Toy, data_dir=folder, download=True).count.sum() == 12", folder)
    return folder


def test_builder_class_instance_and_name_agree(prepared):
    run(
        """
sets = [from_tfds(Toy, data_dir=folder), from_tfds(Toy(data_dir=folder)), from_tfds("toy", data_dir=folder)]
for data in sets:
    assert data.x.shape == (12, 8, 6, 1) and data.x.dtype == np.uint8 and set(data.x.ravel()) == {0, 255}
    assert data.names == ("a", "b", "c")
    assert data.count.tolist() == [4, 4, 4] and data.start.tolist() == [0, 4, 8]
    np.testing.assert_array_equal(data.x, sets[0].x)
where = {int(np.flatnonzero(image)[0]) for image in sets[0].x[:4]}
assert where == {0, 6, 12, 18}, where
assert from_tfds("toy", "train[:50%]+test", data_dir=folder).count.sum() == 9
assert from_tfds("toy", data_dir=folder, size=(4, 5)).x.shape == (12, 4, 5, 1)
""",
        prepared,
    )


BAD = {
    "unknown": (dict(name="toyy"), "`name` is 'toyy', which is neither prepared in .* nor known to TFDS"),
    "type": (dict(name=3), "`name` must be a data set's name, a DatasetBuilder class or an instance, got 3"),
    "not prepared": (dict(name="mnist"), "'mnist/.*' is not prepared in .* Pass `download=True`"),
    "split": (
        dict(name="toy", split="valid"),
        "`split` is 'valid', but 'toy/1.0.0' has the splits test, train",
    ),
    "image": (
        dict(name="toy", image_key="img"),
        "`image_key` is 'img', but 'toy/1.0.0' has the features image, label",
    ),
    "label": (dict(name="toy", label_key="y"), "`label_key` is 'y', but .* Pass one of them as `label_key`"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(prepared, case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        datasets.from_tfds(**options, data_dir=prepared)


Image = type("Image", (SimpleNamespace,), {})  # told from other features by its name


@pytest.mark.parametrize("top", [1, 255])
def test_one_bit_images_reach_255(top):
    images = [np.zeros((2, 2, 1), np.uint8), np.full((2, 2, 1), top, np.uint8)]
    assert _tfds._stack(images, Image(), None).max() == 255
    assert _tfds._stack(images, SimpleNamespace(), None).max() == top  # a plain tensor is left alone
    assert _tfds._stack([image.astype(np.float32) for image in images], Image(), None).max() == top


def test_images_of_different_shapes_need_a_size():
    images = [np.zeros((2, 3, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)]
    assert _tfds._stack(images, Image(), (5, 5)).shape == (2, 5, 5, 3)
    with pytest.raises(ValueError, match=r"`size` is None, but .* \(2, 3, 3\) and \(4, 3, 3\). Pass `size`"):
        _tfds._stack(images, Image(), None)
    with pytest.raises(ValueError, match="`size` is for uint8 images .* float32"):
        _tfds._stack([images[0].astype(np.float32)], Image(), (5, 5))


def test_it_trains_without_tensorflow(prepared):
    """From the prepared files to a trained learner, in a process where TensorFlow cannot be imported."""
    run(
        """
import jax, optax, jaxmeta as jm
sampler = jm.tasks.episodes(from_tfds(Toy, data_dir=folder), num_ways=2, num_shots=1, num_queries=2)
learner = jm.protonet(jm.from_linen(jm.backbones.MLP((16,), num_outputs=8)))
state = jm.init(learner, sampler, optax.adam(0.01), key=jax.random.key(0))
state, history = jm.fit(learner, sampler, optax.adam(0.01), state, num_steps=100, tasks_per_step=8)
assert int(state.step) == 100 and history["loss"][-10:].mean() < 0.1 < history["loss"][:10].mean()
""",
        prepared,
    )
