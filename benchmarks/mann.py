"""Is MANN slow or wrong? Its memory alone, on clusters of points, without a network below it.

    python benchmarks/mann.py

5-way 1-shot, 16-dimensional clusters of standard deviation 0.1 around standard normal centres, 16 tasks a step:
accuracy on 500 new tasks as training goes on. Chance is 0.2.
"""

import jax
import jax.numpy as jnp
import optax
from _report import write

import jaxmeta as jm

WAYS, QUERIES, DIMS = 5, 5, 16


def clusters(key: jax.Array) -> jm.Task:
    k_centres, k_support, k_query = jax.random.split(key, 3)
    centres, ways = jax.random.normal(k_centres, (WAYS, DIMS)), jnp.ones(WAYS, bool)

    def around(key: jax.Array, num: int) -> jm.Batch:
        y = jnp.repeat(jnp.arange(WAYS), num)
        return jm.Batch(centres[y] + 0.1 * jax.random.normal(key, (len(y), DIMS)), y, ways=ways)

    return jm.Task(around(k_support, 1), around(k_query, QUERIES))


def main() -> None:
    rows, learner = [], jm.mann(jm.identity(), num_slots=8, num_heads=1, hidden=100)
    optimizer = optax.adam(1e-3)
    state = jm.init(learner, clusters, optimizer, key=jax.random.key(0))
    for steps in (500, 1_000, 2_000, 4_000, 6_000):
        state, _ = jm.fit(learner, clusters, optimizer, state, num_steps=steps, tasks_per_step=16)
        found = jm.evaluate(learner, state.meta, clusters, num_tasks=500)["accuracy"]
        rows.append({"meta-steps": steps, "accuracy": found.mean, "± 95 %": found.ci95})
    write("mann", rows)


if __name__ == "__main__":
    main()
