# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # MAML by hand
#
# Meta-learning with gradients is one idea: **differentiate through a few steps of training**. Here it is in plain JAX on
# Finn's sine waves, without this library; then the same with it, and a check that the two meta-gradients are equal.

# %%
import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

NUM_STEPS, INNER_LR = 500, 0.01

# %% [markdown]
# ## The network and the loss
# A small network as a function of its parameters. Nothing about it knows of tasks.


# %%
def init(key, x):
    k1, k2, k3 = jax.random.split(key, 3)
    he = lambda k, n, m: jax.random.normal(k, (n, m)) * jnp.sqrt(2 / n)
    return {"w1": he(k1, 1, 40), "b1": jnp.zeros(40), "w2": he(k2, 40, 40), "b2": jnp.zeros(40), "w3": he(k3, 40, 1)}


def network(params, x):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"][None])
    return jax.nn.relu(hidden @ params["w2"] + params["b2"][None]) @ params["w3"]


def loss(params, batch):
    return jnp.mean((network(params, batch.x) - batch.y) ** 2)


# %% [markdown]
# ## The algorithm
# `adapt` is one gradient step on the support set. The meta-loss of a task is the loss of the adapted parameters on its
# queries, and `jax.grad` of it passes through the step: second derivatives come by themselves. Tasks are a `vmap`.


# %%
def adapt(params, support):
    return jax.tree.map(lambda p, g: p - INNER_LR * g, params, jax.grad(loss)(params, support))


def meta_loss(params, tasks):
    one_task = lambda task: loss(adapt(params, task.support), task.query)
    return jax.vmap(one_task)(tasks).mean()


sampler = jm.tasks.sinusoid(num_shots=10, num_queries=10)
draw = lambda key: jax.vmap(sampler)(jax.random.split(key, 25))
optimizer = optax.adam(1e-3)


@jax.jit
def step(params, opt_state, key):
    value, grads = jax.value_and_grad(meta_loss)(params, draw(key))
    updates, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, value


params = init(jax.random.key(0), None)
opt_state = optimizer.init(params)
for i in range(NUM_STEPS):
    params, opt_state, value = step(params, opt_state, jax.random.fold_in(jax.random.key(1), i))
print(f"after {NUM_STEPS} meta-steps: meta-loss {value:.3f}")

# %% [markdown]
# ## The same with the library
# `from_functions` makes a model of the two functions, `maml` a meta-learner of the model. Its exact gradient comes by another
# way (one forward-mode pass over the inner gradient instead of back-propagating through it), and agrees.

# %%
model = jm.from_functions(init, lambda variables, x: network(variables.params, x))
learner = jm.maml(model, jm.losses.mse, inner_optimizer=optax.sgd(INNER_LR), num_steps=1)
tasks = draw(jax.random.key(2))


def library_loss(params):
    return jax.vmap(lambda task: learner.loss(jm.Variables(params), task, None)[0])(tasks).mean()


by_hand, by_library = jax.grad(meta_loss)(params, tasks), jax.grad(library_loss)(params)
difference = max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b).max(), by_hand, by_library)))
print(f"largest difference between the meta-gradients: {difference:.1e}")
scale = max(jax.tree.leaves(jax.tree.map(lambda a: jnp.abs(a).max(), by_hand)))
print(f"of gradients as large as {scale:.1e}")
assert difference < 1e-4 * scale

# %% [markdown]
# ## What it learned
# Error on new waves before and after adaptation.

# %%
make = lambda num_steps: jm.maml(model, jm.losses.mse, inner_optimizer=optax.sgd(INNER_LR), num_steps=num_steps)
curve = jm.adaptation_curve(make, jm.Variables(params), sampler, steps=[1], num_tasks=200)
for num_steps, found in curve.items():
    print(num_steps, "steps:", found["mse"])
