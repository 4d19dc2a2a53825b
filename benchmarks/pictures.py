"""Draw the README's learning curve and episodes: ProtoNet on invented characters, five ways, one shot.

python benchmarks/pictures.py
"""

import argparse
from pathlib import Path

import jax
import optax

import jaxmeta as jm

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main(num_steps: int, features: int) -> None:
    train = jm.tasks.glyphs(num_ways=5, num_shots=1, num_queries=5)
    val, test = (jm.tasks.glyphs(num_ways=5, num_shots=1, num_queries=5, split=split) for split in ("val", "test"))
    learner = jm.protonet(jm.from_linen(jm.backbones.Conv4(features=features), norm="running"))
    optimizer = optax.adam(2e-3)
    state = jm.init(learner, train, optimizer, key=jax.random.key(0))
    every = max(num_steps // 8, 1)
    state, history = jm.fit(
        learner, train, optimizer, state, num_steps=num_steps, tasks_per_step=8, log_every=every,
        eval_sampler=val, eval_every=every, eval_tasks=100,
    )  # fmt: skip
    jm.plots.learning_curve(history, IMAGES / "learning_curve.png", title="ProtoNet on invented characters")
    tasks = jax.vmap(test)(jax.random.split(jax.random.key(3), 3))

    @jax.jit
    @jax.vmap
    def outputs(task: jm.Task) -> jax.Array:
        return learner.predict(state.meta, learner.adapt(state.meta, task.support), task.query.x)

    jm.plots.episodes(
        tasks, outputs(tasks), IMAGES / "episodes.png", title="Held-out characters, one drawing of each to learn from"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-steps", type=int, default=400)
    parser.add_argument("--features", type=int, default=16)
    main(**vars(parser.parse_args()))
