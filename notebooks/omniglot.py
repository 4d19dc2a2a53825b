# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Omniglot, from raw zips to a table
#
# 1,623 characters of 50 alphabets, each drawn once by 20 people (Lake et al., 2015). The question: you have seen *one* drawing of each of
# five new characters; which of them is this? You need `images_background.zip` and `images_evaluation.zip`, or set `DOWNLOAD = True`.

# %%
# %matplotlib inline
import jax
import optax

import jaxmeta as jm

DATA_DIR, DOWNLOAD = "omniglot", False
NUM_STEPS, NUM_TASKS, TASKS_PER_STEP = 1_000, 400, 16

# %% [markdown]
# ## The data
# The split of Vinyals et al. (2016): 1,028 characters to train on, 172 to choose by, 423 for the table. No character is in two of them.

# %%
train, val, test = (jm.datasets.omniglot(s, data_dir=DATA_DIR, download=DOWNLOAD) for s in ("train", "val", "test"))
print([len(data.names) for data in (train, val, test)], "characters;", train.x.shape, train.x.dtype, train.names[0])

# %% [markdown]
# ## Episodes
# `rotate="extra"` makes the turned characters further classes, as in the papers. Everything happens on the device.

# %%
def episodes(data, num_ways, num_shots, num_queries):
    return jm.tasks.episodes(data, num_ways=num_ways, num_shots=num_shots, num_queries=num_queries, rotate="extra")


source = episodes(train, 5, 1, 5)
task = source(jax.random.key(0))
print("support", task.support.x.shape, "labels", task.support.y, "queries", task.query.x.shape)

# %% [markdown]
# ## Two learners
# Prototypes: the class mean $c_w$ of embedded shots, and $p(w \mid x) \propto \exp(-\lVert z(x) - c_w \rVert^2)$. MAML: one gradient step of
# all weights. MAML's head has five outputs, so it answers 5-way questions only; prototypes take any number of ways.

# %%
embedding = jm.from_linen(jm.backbones.Conv4(), norm="running")
classifier = jm.from_linen(jm.backbones.Conv4(num_outputs=5))
learners = {
    "protonet": jm.protonet(embedding),
    "maml": jm.maml(classifier, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5), num_steps=1),
}
metas = {}
for name, learner in learners.items():
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, NUM_STEPS))
    state = jm.init(learner, source, optimizer, key=jax.random.key(0))
    options = {"num_steps": NUM_STEPS, "tasks_per_step": TASKS_PER_STEP, "chunk": 1 if name == "maml" else None}
    state, history = jm.fit(learner, source, optimizer, state, **options)
    metas[name] = state.meta
    found = jm.evaluate(learner, state.meta, episodes(val, 5, 1, 5), num_tasks=NUM_TASKS)["accuracy"]
    print(f"{name:10} on validation characters: {found}")

# %% [markdown]
# ## The table
# On test characters, at last. "Transductive" marks predictions that looked at the other queries (here through BatchNorm).

# %%
print("| learner | 5-way 1-shot | 5-way 5-shot | 20-way 1-shot |\n|---|---|---|---|")
for name, learner in learners.items():
    cells = []
    for num_ways, num_shots in ((5, 1), (5, 5), (20, 1)):
        if name == "maml" and num_ways != 5:
            cells.append("")
            continue
        found = jm.evaluate(learner, metas[name], episodes(test, num_ways, num_shots, 15), num_tasks=NUM_TASKS)["accuracy"]
        cells.append(f"{100 * found.mean:.1f} ± {100 * found.ci95:.1f} %{', transductive' if found.transductive else ''}")
    print(f"| {name} | {' | '.join(cells)} |")

# %% [markdown]
# ## See it

# %%
tasks = jax.vmap(episodes(test, 5, 1, 2))(jax.random.split(jax.random.key(1), 3))
learner, meta = learners["protonet"], metas["protonet"]
answer = lambda task: learner.predict(meta, learner.adapt(meta, task.support), task.query.x)
outputs = jax.jit(jax.vmap(answer))(tasks)
jm.plots.episodes(tasks, outputs)

# %% [markdown]
# `jaxmeta train omniglot_protonet_5w1s --data-dir DIR` and `omniglot_maml_5w1s` are the same at the papers' full length, with checkpoints.
