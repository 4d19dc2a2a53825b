# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Learned optimizers
#
# Gradient descent is a rule that someone wrote: $u = -\alpha g$. A rule can be learned instead. A *task* is then a problem to be solved
# from scratch, and what is meta-learned is the update rule $u_\varphi$: the outer loss is how well the problem is solved along the way,
# $\frac{1}{K} \sum_{t=1}^{K} L(\theta_t)$ with $\theta_{t+1} = \theta_t + u_\varphi(\nabla L(\theta_t))$ (Andrychowicz et al., 2016).

# %%
import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

NUM_STEPS, NUM_TASKS, NUM_UPDATES = 1_000, 256, 20

# %% [markdown]
# ## Problems: random quadratics
# $L(\theta) = \lVert W \theta - y \rVert^2 / n$ with a new $W$ and $y$ each time. The "model" is the point $\theta$ itself.

# %%
problems = jm.tasks.quadratics(num_dims=10)
model = jm.from_functions(
    lambda key, x: jax.random.normal(key, (x.shape[-1], 1)), lambda variables, x: x @ variables.params
)

# %% [markdown]
# ## Three rules
# The best *constant* rate, a rate for every *step*, and a small network that sees, for each coordinate, running means of the gradient
# and chooses how far to go along each. Untrained, all three are gradient descent.

# %%
rules = {
    "tuned rate": jm.update_rules.tuned(optax.sgd, 0.05),
    "schedule": jm.update_rules.schedule(NUM_UPDATES, init_lr=0.05),
    "network": jm.update_rules.mlp(init_lr=0.05),
}
make = lambda rule: jm.learned_optimizer(model, jm.losses.mse, rule=rule, num_steps=NUM_UPDATES)

learned = {}
for name, rule in rules.items():
    learner = make(rule)
    outer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, NUM_STEPS)))
    state = jm.init(learner, problems, outer, key=jax.random.key(0))
    before = jm.evaluate(learner, state.meta, problems, num_tasks=NUM_TASKS)["mse"]
    state, _ = jm.fit(learner, problems, outer, state, num_steps=NUM_STEPS, tasks_per_step=32)
    learned[name] = state.meta.params
    print(f"{name:12} {before.mean:.3f} ->", jm.evaluate(learner, state.meta, problems, num_tasks=NUM_TASKS)["mse"])

# %% [markdown]
# ## What is it, when it is trained?
# An optax transformation, for anything that optax optimises: other problems, other shapes, other lengths. No promise that it is good there:
# a rule knows the problems it was trained on.

# %%
optimizer = rules["network"].transform(learned["network"])
valley = lambda p: p["a"] ** 2 + 3 * jnp.sum(p["b"] ** 2)
params = {"a": jnp.array(1.0), "b": jnp.ones(3)}
opt_state = optimizer.init(params)
print("start", valley(params))
for i in range(NUM_UPDATES):
    updates, opt_state = optimizer.update(jax.grad(valley)(params), opt_state, params)
    params = optax.apply_updates(params, updates)
print("after", NUM_UPDATES, "updates", valley(params))

# %% [markdown]
# ## Longer than in training
# The classical weakness: a rule that was unrolled for so many steps may do anything afterwards. Look before you trust it.

# %%
for num_updates in (NUM_UPDATES, 2 * NUM_UPDATES):
    for name in ("tuned rate", "network"):
        longer = jm.learned_optimizer(model, jm.losses.mse, rule=rules[name], num_steps=num_updates)
        found = jm.evaluate(longer, jm.Variables(learned[name]), problems, num_tasks=NUM_TASKS)["mse"]
        print(f"{num_updates} updates, {name:12} {found}")
