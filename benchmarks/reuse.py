"""Learners made of learners: does each do what it is for? 5-way 1-shot, with intervals over seeds.

    python benchmarks/reuse.py --seeds 5                       # invented characters, no files
    python benchmarks/reuse.py --seeds 5 --data-dir DIR        # Omniglot

`adversarial` against its plain twin under PGD; `bagging` against its mean member; `stacking` and `boosting` against
their best member, which is chosen on the test tasks, in favour of the member; `distill` against its teacher; `replay`
on a stream of turned alphabets, beside as many new tasks a step without it. Every (part, seed) that is done is kept in
results/reuse_parts.json: a run that was stopped goes on where it was. Differences are paired by seed.
"""

import argparse
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
import optax
from _report import write
from _resume import resume
from scipy.stats import t as student_t

import jaxmeta as jm

WAYS, SHOTS, QUERIES, TEST_QUERIES = 5, 1, 5, 15
ATTACK_STEPS = 3, 10  # in training, in the measurement
ADAM, FAST = optax.adam(2e-3), optax.adam(2e-2)  # FAST: for the few weights of stacking


class Work:
    """The options, with the networks, learners and samplers made once, so that seeds share compiled programs."""

    def __init__(self, options: argparse.Namespace):
        self.options = options

    @cache  # noqa: B019
    def model(self, features: int, norm: Any, head: bool) -> jm.Model:
        outputs = WAYS if head else None
        return jm.from_linen(jm.backbones.Conv4(num_outputs=outputs, features=features), norm=norm)

    @cache  # noqa: B019
    def protonet(self, features: int) -> jm.MetaLearner:
        return jm.protonet(self.model(features, "running", False))

    @cache  # noqa: B019
    def maml(self, adapt: str = "all") -> jm.MetaLearner:
        make = {"all": jm.maml, "head": jm.anil}[adapt]
        model = self.model(self.options.features, "transductive", True)
        return make(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.4), num_steps=1)

    @cache  # noqa: B019
    def made(self, name: str) -> Any:
        """A learner, attack or replay by name."""
        o, base = self.options, self.protonet(self.options.features)
        pgd = lambda steps: jm.attacks.pgd(radius=o.radius, num_steps=steps, bounds=(0, 1))
        make: dict[str, Callable] = {
            "attack": lambda: pgd(ATTACK_STEPS[1]),
            "adversarial": lambda: jm.adversarial(base, attack=pgd(ATTACK_STEPS[0])),
            "bagging": lambda: jm.bagging(base, num_members=o.members, bootstrap=True),
            "boosting": lambda: jm.boosting(base, num_members=o.members),
            "student": lambda: self.protonet(o.student_features),
        }
        return make[name]()

    @cache  # noqa: B019
    def sampler(self, split: str, num_queries: int) -> Any:
        size = {"num_ways": WAYS, "num_shots": SHOTS, "num_queries": num_queries}
        if self.options.data_dir is None:
            return jm.tasks.glyphs(split=split, **size)
        data = jm.datasets.omniglot(split, data_dir=self.options.data_dir)
        return jm.tasks.episodes(data, rotate="extra", **size)

    def phases(self, seed: int) -> list:
        """Turned alphabets: 20 drawings of each of 20 characters."""
        o, classes = self.options, 20
        data = glyph_alphabets(o.phases, classes, seed) if o.data_dir is None else omniglot_background(o.data_dir)
        size = {"num_ways": WAYS, "num_shots": SHOTS, "num_queries": QUERIES}
        return jm.tasks.stream(data, num_phases=o.phases, classes_per_phase=classes, seed=seed, **size)

    def train(self, learner: jm.MetaLearner, seed: int, steps: int | None = None, split="train", optimizer=ADAM) -> Any:
        """Trained `meta`."""
        o, sampler = self.options, self.sampler(split, QUERIES)
        state = jm.init(learner, sampler, optimizer, key=jax.random.key(seed))
        options = {"num_steps": steps or o.num_steps, "tasks_per_step": o.tasks_per_step}
        return jm.fit(learner, sampler, optimizer, state, **options)[0].meta

    def accuracy(self, learner: jm.MetaLearner, meta: jm.Variables) -> float:
        test = self.sampler("test", TEST_QUERIES)
        return jm.evaluate(learner, meta, test, num_tasks=self.options.test_tasks)["accuracy"].mean


@cache
def omniglot_background(data_dir: str) -> jm.ClassSet:
    return jm.datasets.omniglot("background", data_dir=data_dir)


def glyph_alphabets(num: int, classes: int, seed: int) -> jm.ClassSet:
    """Families of invented characters as data with names ``family/character``."""
    rows, names = [], []
    for p in range(num):
        draw = jm.tasks.glyphs(num_ways=classes, num_shots=10, num_queries=10, seed=1_000 * seed + p)
        task = jax.jit(lambda sampler, key: sampler(key))(draw, jax.random.key(seed))
        halves = [np.asarray(batch.x).reshape(classes, 10, 28, 28, 1) for batch in task]
        rows.append(np.concatenate(halves, 1).reshape(-1, 28, 28, 1))
        names += [f"{p}/{i:02d}" for i in range(classes)]
    x = np.round(255 * np.concatenate(rows)).astype(np.uint8)
    count = np.full(len(names), 20, np.int32)
    return jm.ClassSet(x, np.arange(0, len(x), 20, dtype=np.int32), count, tuple(names))


def members_of(meta: jm.Variables, state: Any, num: int) -> list[jm.Variables]:
    return [jax.tree.map(lambda a, s=s: a[s], jm.Variables(meta.params, state)) for s in range(num)]


def adversarial(work: Work, seed: int) -> dict[str, float]:
    """The twins share everything but the loss; each is attacked by its own gradients."""
    plain, test = work.protonet(work.options.features), work.sampler("test", TEST_QUERIES)
    row = {}
    for name, learner in (("plain", plain), ("adversarial", work.made("adversarial"))):
        meta = work.train(learner, seed)
        row[f"{name} clean"] = work.accuracy(plain, meta)
        options = {"attack": work.made("attack"), "num_tasks": work.options.test_tasks}
        row[f"{name} robust"] = jm.robust_accuracy(plain, meta, test, **options).mean
    return row


def ensembles(work: Work, seed: int) -> dict[str, float]:
    o, base = work.options, work.protonet(work.options.features)
    row = {}
    for name in ("bagging", "boosting"):
        learner = work.made(name)
        meta = work.train(learner, seed)
        state = meta.state.members if name == "boosting" else meta.state
        each = [work.accuracy(base, member) for member in members_of(meta, state, o.members)]
        row |= {name: work.accuracy(learner, meta), f"{name}: mean member": float(np.mean(each))}
        row[f"{name}: best member"] = max(each)
    learners = [base, work.maml(), work.maml("head")]
    metas = [work.train(learner, seed) for learner in learners]
    stacked = jm.stacking(learners, metas=metas)  # the combination is learned on the validation classes
    meta = work.train(stacked, seed, max(o.num_steps // 5, 1), "val", FAST)
    each = [work.accuracy(*pair) for pair in zip(learners, metas, strict=True)]
    row |= {"stacking": work.accuracy(stacked, meta), "stacking: mean member": float(np.mean(each))}
    return row | {"stacking: best member": max(each)}


def distill(work: Work, seed: int) -> dict[str, float]:
    """One network as a student of an ensemble of its like, and its twin that has only the labels.

    Both take twice the teacher's steps, which cost as much as each of its members' several times over.
    """
    teacher, student, steps = work.made("bagging"), work.made("student"), 2 * work.options.num_steps
    taught = work.train(teacher, seed)
    meta = work.train(jm.distill(student, teacher, taught), seed, steps)
    own = jm.Variables(meta.params, meta.state.student)
    return {
        "teacher": work.accuracy(teacher, taught),
        "distilled student": work.accuracy(student, own),
        "student of labels": work.accuracy(student, work.train(student, seed, steps)),
    }


def replay(work: Work, seed: int) -> dict[str, float]:
    """As many tasks in every update with and without the memory."""
    o, learner, phases, row = work.options, work.maml(), work.phases(seed), {}
    half = max(o.tasks_per_step // 2, 1)
    for name, new, replayed in (("replay", half, half), ("no replay", 2 * half, 0)):
        made = jm.replay(learner, ADAM, phases[0], capacity=o.capacity, num_replayed=replayed)
        state, metas = jm.init(learner, phases[0], made.optimizer, key=jax.random.key(seed)), []
        for i, phase in enumerate(phases, 1):
            options = {"num_steps": i * o.steps_per_phase, "tasks_per_step": new, "step": made.step}
            state, _ = jm.fit(learner, phase, made.optimizer, state, **options)
            metas.append(state.meta)
        found = jm.forgetting_curve(learner, metas, phases, num_tasks=o.stream_tasks)
        row |= {f"{name}: forgetting after phase {i + 1}": float(f) for i, f in enumerate(found.curve) if i}
        row[f"{name}: forgetting"] = float(found.curve[-1])
        row[f"{name}: accuracy on all phases at the end"] = float(found.scores[-1].mean())
    return row


PARTS = {"adversarial": adversarial, "ensembles": ensembles, "distill": distill, "replay": replay}
# what is claimed: (part, better, worse, by how much the first may fall short)
CLAIMS = [
    ("adversarial", "adversarial robust", "plain robust", 0.0),
    ("ensembles", "bagging", "bagging: mean member", 0.0),
    ("ensembles", "boosting", "boosting: best member", 0.0),
    ("ensembles", "stacking", "stacking: best member", 0.0),
    ("distill", "distilled student", "teacher", 0.02),
    ("replay", "no replay: forgetting", "replay: forgetting", 0.0),
]


def interval(values: list[float]) -> tuple[float, float | None]:
    """Mean and half-width of the 95 % interval over seeds; one seed has none."""
    n = len(values)
    if n == 1:
        return values[0], None
    return float(np.mean(values)), float(student_t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / n**0.5


def table(done: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Every figure, then every claim as a paired difference and whether it holds within its interval."""
    rows = []
    for part, found in done.items():
        for name in found[0]:
            mean, ci95 = interval([row[name] for row in found])
            rows.append({"part": part, "figure": name, "mean": mean, "95 % interval": ci95, "seeds": len(found)})
    for part, better, worse, slack in CLAIMS:
        if part in done:
            mean, ci95 = interval([row[better] - row[worse] for row in done[part]])
            verdict = "one seed says nothing"
            if ci95 is not None:
                inside = "within the interval" if mean + ci95 >= -slack else "no"
                verdict = "yes" if mean - ci95 > -slack else inside
            about = {"part": part, "figure": f"{better} less {worse}", "mean": mean, "95 % interval": ci95}
            rows.append({**about, "seeds": len(done[part]), "may fall short by": slack, "holds": verdict})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the Omniglot zips; invented characters by default")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=1_000, help="of training, each learner")
    parser.add_argument("--tasks-per-step", type=int, default=8)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--student-features", type=int, default=32)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--radius", type=float, default=0.1, help="of the attack, for pixels in [0, 1]")
    parser.add_argument("--test-tasks", type=int, default=600)
    parser.add_argument("--phases", type=int, default=5)
    parser.add_argument("--steps-per-phase", type=int, default=200)
    parser.add_argument("--capacity", type=int, default=100, help="tasks in the memory of replay")
    parser.add_argument("--stream-tasks", type=int, default=200, help="tasks for each score on a phase")
    parser.add_argument("--out", default="reuse", help="name of the results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    name, work = options.out + ("" if options.data_dir is None else "_omniglot"), Work(options)

    def make(item: str) -> dict[str, float]:
        part, seed = item.split("/")
        return PARTS[part](work, int(seed))

    items = [f"{part}/{seed}" for seed in range(options.seeds) for part in options.parts]
    found = {row.pop("item"): row for row in resume(f"{name}_parts", items, make, options.one)}
    done = {part: [row for item, row in found.items() if item.startswith(f"{part}/")] for part in PARTS}
    write(name, table({part: rows for part, rows in done.items() if rows}))


if __name__ == "__main__":
    main()
