"""Draw the README's learning curve and fits: its example of the library, MAML on sine waves.

python benchmarks/pictures.py
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main(num_steps: int) -> None:
    train, few = jm.tasks.sinusoid(num_shots=10, num_queries=10), jm.tasks.sinusoid(num_shots=5, num_queries=50)
    model = jm.from_linen(jm.backbones.MLP((40, 40), num_outputs=1))
    make = lambda num_steps: jm.maml(model, jm.losses.mse, inner_optimizer=optax.sgd(0.01), num_steps=num_steps)
    optimizer, every = optax.adam(1e-3), max(num_steps // 10, 1)
    state = jm.init(make(1), train, optimizer, key=jax.random.key(0))
    state, history = jm.fit(
        make(1), train, optimizer, state, num_steps=num_steps, tasks_per_step=25,
        eval_sampler=few, eval_every=every, eval_tasks=200,
    )  # fmt: skip
    jm.plots.learning_curve(history, IMAGES / "learning_curve.png", title="MAML on sine waves; validation with 5 shots")
    tasks = jax.vmap(few)(jax.random.split(jax.random.key(1), 3))
    grid = jnp.linspace(-5, 5, 100)[:, None]

    def curves(steps: int) -> jax.Array:
        predict = lambda support: make(steps).predict(state.meta, make(steps).adapt(state.meta, support), grid)
        return jax.jit(jax.vmap(predict))(tasks.support)

    fits = {"before": curves(0), "after 1 step": curves(1), "after 5 steps": curves(5)}
    jm.plots.fits(tasks, grid, fits, IMAGES / "fits.png", title="New waves, five points of each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-steps", type=int, default=5_000)
    main(**vars(parser.parse_args()))
