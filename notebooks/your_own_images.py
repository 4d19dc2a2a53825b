# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Your own images, in five minutes
#
# You have a folder of pictures with a few examples per class, and no time to train a network on them. A learner that was meta-trained on
# *other* classes adapts to yours in one call, with scikit-learn's methods.
#
# `FOLDER` holds one folder per class. `RUN` is a run folder of `jaxmeta train photographs`, made once, for instance by
# `jaxmeta train photographs --dataset grocery --data-dir grocery84_jpeg.zip --out RUN`. Without one (`RUN = None`) the prototypes of raw
# pixels answer: the baseline that a trained embedding should beat.

# %%
# %matplotlib inline
import tempfile

import jax
import numpy as np

import jaxmeta as jm

FOLDER, RUN = "photos", None
SIZE, NUM_SHOTS = 84, 5

# %% [markdown]
# ## Read the pictures
# Any size and format; they are turned upright, resized, and kept as bytes.

# %%
data = jm.datasets.from_folder(FOLDER, size=SIZE)
X = np.asarray(data.x)
y = np.repeat(data.names, data.count)
print(X.shape, X.dtype, dict(zip(data.names, data.count.tolist())))

# %% [markdown]
# ## A few shots to learn from, all others to be asked about

# %%
order = np.random.default_rng(0).permutation(len(y))
rank = np.empty(len(y), int)
for name in data.names:
    rows = order[y[order] == name]
    rank[rows] = np.arange(len(rows))
shots = rank < NUM_SHOTS
print(shots.sum(), "labelled pictures,", (~shots).sum(), "to recognise")

# %% [markdown]
# ## Adapt, predict
# `fit` does not train the network: it computes class means in the space that was meta-learned. That is why it is quick.

# %%
classifier = jm.FewShotClassifier() if RUN is None else jm.FewShotClassifier.load(RUN)
classifier.fit(X[shots], y[shots])
said = classifier.predict(X[~shots])
chance = 1 / len(classifier.classes_)
print(f"accuracy {np.mean(said == y[~shots]):.3f}, by chance {chance:.3f}")

# %% [markdown]
# ## How sure is it, and what does it confuse?

# %%
p = classifier.predict_proba(X[~shots])
for name in classifier.classes_:
    mine = y[~shots] == name
    wrong = said[mine][said[mine] != name]
    most = max(set(wrong), key=list(wrong).count) if len(wrong) else "nothing"
    print(f"{name:20} right {np.mean(said[mine] == name):.2f}, mean confidence {p[mine].max(1).mean():.2f}, taken for {most}")

# %% [markdown]
# ## One more class, later
# `partial_fit` adds examples; a new label is a new class. Nothing is trained again.

# %%
first, last = data.names[:-1], data.names[-1]
growing = jm.FewShotClassifier() if RUN is None else jm.FewShotClassifier.load(RUN)
known = shots & np.isin(y, first)
growing.fit(X[known], y[known])
growing.partial_fit(X[shots & (y == last)], y[shots & (y == last)])
assert (growing.predict(X[~shots]) == said).all()

# %% [markdown]
# ## Take it with you
# As a folder that `jm.FewShotClassifier.load` reads, or as one file that needs only jax and knows nothing of this library.

# %%
with tempfile.TemporaryDirectory() as folder:
    classifier.export(f"{folder}/classifier.jax")
    with open(f"{folder}/classifier.jax", "rb") as file:
        program = jax.export.deserialize(bytearray(file.read()))
    assert np.allclose(program.call(X[~shots]), p, atol=1e-3)
    if RUN is not None:  # raw pixels have no parameters to save
        classifier.save(f"{folder}/classifier")
        again = jm.FewShotClassifier.load(f"{folder}/classifier")
        assert (again.predict(X[~shots]) == said).all()
