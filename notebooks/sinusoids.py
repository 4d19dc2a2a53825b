# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Sinusoids: five points are enough
#
# A sine wave is fixed by its amplitude and its phase: two numbers. Someone who *knows* that all curves in question are sine waves needs
# very few points to draw one. An ordinary network does not know; a meta-learned one does. We let three kinds of learner find it out.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

NUM_STEPS, NUM_TASKS = 3_000, 400

# %% [markdown]
# ## The tasks
# Amplitude from [0.1, 5], phase from [0, π], inputs from [-5, 5] (Finn et al., 2017). Ten points to learn from, ten to be judged by.

# %%
train = jm.tasks.sinusoid(num_shots=10, num_queries=10)
test = jm.tasks.sinusoid(num_shots=5, num_queries=50)
task = test(jax.random.key(0))
print("support", task.support.x.shape, "queries", task.query.x.shape)

# %% [markdown]
# ## Three learners
# * **MAML** learns an initialisation $\theta$ from which a step $\theta - \alpha \nabla L_S(\theta)$ fits the wave.
# * **R2-D2** learns features $z(x)$, and solves a ridge regression on them: $w = Z^\top (Z Z^\top + \lambda I)^{-1} y$.
# * A **neural process** learns to read the set of points into one vector, and to write a curve from it. It also says how sure it is.

# %%
network = jm.from_linen(jm.backbones.MLP((40, 40), num_outputs=1))
features = jm.from_linen(jm.backbones.MLP((40, 40)))
make_maml = lambda num_steps: jm.maml(network, jm.losses.mse, inner_optimizer=optax.sgd(0.005), num_steps=num_steps)
learners = {
    "maml": make_maml(1),
    "r2d2": jm.r2d2(features, jm.losses.mse),
    "neural process": jm.neural_process(jm.identity(), hidden=64),
}

# %% [markdown]
# ## Train and measure all of them
# They have one type, so they have one loop. The error of "always zero" is about 4: the mean of $A^2 / 2$.

# %%
metas = {}
for name, learner in learners.items():
    optimizer = optax.adam(1e-3)
    state = jm.init(learner, train, optimizer, key=jax.random.key(0))
    before = jm.evaluate(learner, state.meta, test, num_tasks=NUM_TASKS)["mse"]
    state, history = jm.fit(learner, train, optimizer, state, num_steps=NUM_STEPS, tasks_per_step=25)
    metas[name] = state.meta
    print(f"{name:15} {before.mean:5.2f} ->", jm.evaluate(learner, state.meta, test, num_tasks=NUM_TASKS)["mse"])

# %% [markdown]
# ## See it
# Three new waves, five points of each.

# %%
grid = jnp.linspace(-5, 5, 100)[:, None]
tasks = jax.vmap(test)(jax.random.split(jax.random.key(1), 3))


def curves(name):
    draw = lambda support: learners[name].predict(metas[name], learners[name].adapt(metas[name], support), grid)
    return jax.jit(jax.vmap(draw))(tasks.support)


figure = jm.plots.fits(tasks, grid, {name: curves(name) for name in learners})
figure

# %% [markdown]
# ## More steps than in training
# MAML was trained with one step. It goes on improving when it takes more: the initialisation is a good place to *descend* from.

# %%
curve = jm.adaptation_curve(make_maml, metas["maml"], test, steps=[1, 2, 5, 10], num_tasks=NUM_TASKS)
for num_steps, found in curve.items():
    print(num_steps, "steps:", found["mse"])
