# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Scaling to many devices
#
# Meta-learning has a natural data axis: tasks. Each device differentiates its own, and per step they exchange one mean of the
# meta-gradient. A laptop can show it: the cores of a CPU can be devices. This must be said before jax does anything.

# %%
import jax

NUM_DEVICES, NUM_STEPS, TASKS_PER_STEP = 2, 200, 16
if jax.config.jax_num_cpu_devices in (-1, 1):
    jax.config.update("jax_num_cpu_devices", NUM_DEVICES)

# %%
import time

import jax.numpy as jnp
import optax

import jaxmeta as jm

print(jax.devices())

# %% [markdown]
# ## The same training, on one device and on several
# `mesh` is all that changes. A task depends on (seed, step, index) and not on the device that happens to draw it, so the result is the same
# up to the order of a sum.

# %%
sampler, optimizer = jm.tasks.glyphs(num_ways=5, num_shots=1), optax.adam(1e-3)
model = jm.from_linen(jm.backbones.Conv4(num_outputs=5, features=16))
learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=1)
start = jm.init(learner, sampler, optimizer, key=jax.random.key(0))
states = {}
for name, mesh in {"one device": None, "all devices": jm.parallel.make_mesh()}.items():
    options = {"num_steps": NUM_STEPS, "tasks_per_step": TASKS_PER_STEP, "mesh": mesh, "chunk": 1}
    begin = time.perf_counter()
    states[name], history = jm.fit(learner, sampler, optimizer, start, **options)
    print(f"{name:12} {time.perf_counter() - begin:6.1f} s with compilation, last loss {history['loss'][-1]:.4f}")

# %%
one, many = (jm.parallel.place(state.meta.params, None) for state in states.values())
gap = jax.tree.map(lambda a, b: jnp.abs(jnp.asarray(a) - jnp.asarray(b)).max(), one, jax.device_get(many))
print("largest difference of a parameter:", max(float(g) for g in jax.tree.leaves(gap)))

# %% [markdown]
# Rounding differs, since sums are taken in another order, and training amplifies it slowly: after one step it is of the order of $10^{-7}$.
#
# ## What do the devices say to one another?
# The compiled step answers: one all-reduce, as large as the parameters (and a handful of metrics).

# %%
mesh = jm.parallel.make_mesh()
plan = jm.planning.plan(learner, sampler, optimizer, mesh=mesh, tasks_per_step=TASKS_PER_STEP, chunk=1)
print(plan)
size = sum(leaf.nbytes for leaf in jax.tree.leaves(start.meta.params))
print("parameters:", size, "bytes")

# %% [markdown]
# ## Parameters that are too large for one device
# `shard=jm.parallel.fsdp()` lays large arrays and their optimizer's state over the mesh; the training is the same.
#
# ## More than one machine
# Each process runs the same program; `jm.parallel.start()` finds the others (SLURM, Cloud TPU, Open MPI). From the command line:
#
#     srun --ntasks-per-node=8 --gpus-per-task=1 jaxmeta train omniglot_maml_5w1s --data-dir DIR --distributed --out RUN
#
# ## Seeds are an axis, too
# Several runs at once, by `vmap`, and an interval over seeds.

# %%
seeds = jm.init(learner, sampler, optimizer, key=jax.random.split(jax.random.key(1), 3))
seeds, _ = jm.fit(learner, sampler, optimizer, seeds, num_steps=NUM_STEPS, tasks_per_step=4)
print(jm.evaluate_seeds(learner, seeds.meta, jm.tasks.glyphs(split="test"), num_tasks=NUM_STEPS)["accuracy"])
