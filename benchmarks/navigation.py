"""Returns on two-dimensional navigation after 0 to 3 updates, beside the published ones.

    python benchmarks/navigation.py --algorithms maml_trpo e_maml promp pretrained random oracle --seeds 3

The protocol is that of MAML's code (Finn et al., 2017, https://arxiv.org/abs/1703.03400): 20 episodes of 100 steps for
each of 40 tasks, 100 iterations, an MLP of two hidden layers of 100 units. Held-out tasks are adapted to by three
updates on 20 episodes each, the first at the rate of training and the others at half of it. `pretrained` maximises the
return over all tasks by the same trust-region steps, without adaptation in training; `random` is not trained; `oracle`
sees the goal. Trust-region steps compute their divergence on 5 of the 20 episodes.
"""

import argparse
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from _resume import resume

import jaxmeta as jm
from jaxmeta import rl
from jaxmeta.recipes import navigation

PUBLISHED = {
    "maml_trpo": "-40.4 ± 4.0, -11.7 ± 2.2, -3.3 ± 0.6, -3.2 ± 0.6",
    "random": "-82.7, -58.0, -53.8, -46.8",
    "oracle": "-2.3 ± 0.1",
}
ALGORITHMS = ("maml_trpo", "e_maml", "promp", "pretrained", "random", "oracle")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sighted(rl.Navigation):
    """Navigation that observes the goal beside the position."""

    def reset(self, key):
        state, observation = super().reset(key)
        return state, jnp.concatenate([observation, self.goal])

    def step(self, state, action, key):
        state, observation, reward, done = super().step(state, action, key)
        return state, jnp.concatenate([observation, self.goal]), reward, done


def sighted(key):
    env = rl.navigation()(key).support
    return jm.Task(*[Sighted(env.goal, env.horizon)] * 2)


def run(name: str, num_steps: int, tasks_per_step: int) -> dict:
    algorithm, seed = name.split()
    begin = time.process_time()
    recipe = navigation(algorithm=algorithm if algorithm in ("e_maml", "promp") else "maml_trpo")
    sampler, learner, step, optimizer = recipe.train, recipe.learner, recipe.step, recipe.optimizer
    if algorithm in ("pretrained", "oracle"):
        policy = rl.gaussian_policy(jm.from_linen(jm.backbones.MLP((100, 100), num_outputs=2)), 2)
        agent = rl.maml_trpo(policy, num_steps=0, kl_episodes=5)
        learner, step = agent.learner, agent.step
        sampler = sighted if algorithm == "oracle" else sampler
    state = jm.init(learner, sampler, optimizer, key=jax.random.key(int(seed)))
    if algorithm != "random":
        state, _ = jm.fit(
            learner, sampler, optimizer, state, num_steps=num_steps, tasks_per_step=tasks_per_step, step=step,
            log_every=10, progress=True,
        )  # fmt: skip
    tested = learner if algorithm == "oracle" else recipe.make_learner(num_steps=3)
    found = jm.evaluate(tested, state.meta, sampler, num_tasks=40, key=jax.random.key(1_000 + int(seed)))
    row = {}
    for k in range(1 if algorithm == "oracle" else 4):
        row |= {f"{k} updates": found[f"return/{k}"].mean, f"{k} updates ± 95 %": found[f"return/{k}"].ci95}
    return {**row, "CPU minutes": (time.process_time() - begin) / 60, "published": PUBLISHED.get(algorithm, "")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=100)
    parser.add_argument("--tasks-per-step", type=int, default=40)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    items = [f"{algorithm} {seed}" for seed in range(o.seeds) for algorithm in o.algorithms]
    resume("navigation", items, lambda name: run(name, o.num_steps, o.tasks_per_step), o.one)


if __name__ == "__main__":
    main()
