# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Long inner loops and memory
#
# To differentiate through $K$ steps of training, back-propagation remembers all of them. Here is what that costs, and three ways out:
# two are exact and one is not.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

LENGTHS, NUM_TASKS = (4, 16, 64, 256), 8

# %% [markdown]
# ## How much does a step reserve?
# The compiler says so before anything runs: `memory_analysis` of the compiled meta-step.

# %%
model = jm.from_linen(jm.backbones.MLP((64, 64), num_outputs=1))
sampler, outer = jm.tasks.sinusoid(num_shots=50, num_queries=50), optax.adam(1e-3)


def maml(num_steps, **options):
    return jm.maml(model, jm.losses.mse, inner_optimizer=optax.sgd(0.001), num_steps=num_steps, **options)


def kibibytes(learner):
    state = jm.init(learner, sampler, outer, key=jax.random.key(0))
    tasks = jax.vmap(sampler)(jax.random.split(jax.random.key(1), NUM_TASKS))
    return jax.jit(jm.meta_step(learner, outer)).lower(state, tasks).compile().memory_analysis().temp_size_in_bytes // 1024


# %% [markdown]
# ## Three ways to the same number
# * **reverse**: back-propagation through back-propagation. It keeps the activations of every step: $O(K \cdot \text{activations})$.
# * **mixed** (the default): a step's derivative needs $H v$, the Hessian times a vector. Forward-over-reverse makes it from the step's *inputs*,
#   so only the parameters $\phi_1 \dots \phi_K$ are kept: $O(K \cdot \text{parameters})$.
# * **mixed, remat="sqrt"**: keeps every $\sqrt K$-th of these and computes the others again: $O(\sqrt K \cdot \text{parameters})$.

# %%
ways = {"reverse": {"gradient": "reverse"}, "mixed": {}, 'remat="sqrt"': {"remat": "sqrt"}}
print(f"{'steps':>6}", *(f"{name:>14}" for name in ways), "  KiB")
for num_steps in LENGTHS:
    print(f"{num_steps:6}", *(f"{kibibytes(maml(num_steps, **how)):14}" for how in ways.values()))

# %%
task = sampler(jax.random.key(2))
meta = maml(LENGTHS[0]).init(jax.random.key(3), task)


def meta_gradient(learner):
    return jax.jit(jax.grad(lambda params: learner.loss(jm.Variables(params), task, None)[0]))(meta.params)


def distance(a, b):
    norm = lambda tree: jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
    return float(norm(jax.tree.map(jnp.subtract, a, b)) / norm(b))


exact = meta_gradient(maml(LENGTHS[-1], gradient="reverse"))
for name, how in ways.items():
    error = distance(meta_gradient(maml(LENGTHS[-1], **how)), exact)
    print(f"{name:14} relative difference to reverse {error:.1e}")
    assert error < 1e-3

# %% [markdown]
# ## An approximation: differentiate the last steps only
# `truncate=k` takes the gradients of all but the last $k$ steps as constants. For $k = 0$ this is first-order MAML. The bias falls with $k$.

# %%
for k in (0, 1, LENGTHS[-1] // 4, LENGTHS[-1]):
    print(f"truncate={k:<4} relative error {distance(meta_gradient(maml(LENGTHS[-1], truncate=k)), exact):.3f}")

# %% [markdown]
# ## Another question: the solution instead of the path
# iMAML minimises $L_S(\phi) + \frac{\lambda}{2} \lVert \phi - \theta \rVert^2$. At the solution $\nabla L_S(\phi) + \lambda (\phi - \theta) = 0$,
# and differentiating *that* gives $\frac{d\phi}{d\theta} = (I + \frac{1}{\lambda} H)^{-1}$: no path is needed, so memory does not grow with $K$.

# %%
for num_steps in LENGTHS:
    implicit = jm.imaml(model, jm.losses.mse, inner_optimizer=optax.sgd(0.001), num_steps=num_steps)
    print(f"imaml, {num_steps:3} steps: {kibibytes(implicit)} KiB")
