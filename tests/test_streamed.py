"""Data that stay on the host: the same tasks, the same training, whatever prepares them; and no memory left behind."""

import sys
import threading
from contextlib import closing

import jax
import numpy as np
import optax
import pytest
from test_parallel import needs_omniglot, ran

import jaxmeta as jm
from jaxmeta import tasks
from jaxmeta.step import draw_tasks

rng = np.random.default_rng(0)
COUNT = np.array([7, 5, 9, 6, 8, 5], np.int32)
DATA = jm.ClassSet(
    rng.integers(0, 256, [COUNT.sum(), 6, 6, 1], dtype=np.uint8), np.cumsum(COUNT) - COUNT, COUNT, tuple("abcdef")
)
SMALL = {"num_ways": 3, "num_shots": 1, "num_queries": 2}
RANGES = {"num_ways": (2, 4), "num_shots": (1, 3), "num_queries": 2}
LAYOUTS = {
    "plain": (tasks.episodes, SMALL),
    "extra": (tasks.episodes, {**SMALL, "rotate": "extra"}),
    "ranges": (tasks.episodes, {**RANGES, "rotate": "draw"}),
    "batches": (tasks.batches, {"batch_size": 5, "rotate": "extra"}),
}
HERE, STREAMED = tasks.episodes(DATA, **RANGES, rotate="extra"), tasks.streamed(DATA, **RANGES, rotate="extra")
EMBED = jm.from_functions(lambda key, x: jax.random.normal(key, (36, 8)), lambda v, x: x.reshape(-1, 36) @ v.params)
LEARNER, ADAM = jm.protonet(EMBED), optax.adam(1e-2)
STATE = jm.init(LEARNER, HERE, ADAM, key=jax.random.key(0))
OPTIONS = {"tasks_per_step": 4, "log_every": 3}
on_device = jax.jit(draw_tasks, static_argnums=(2, 3))


def fit(sampler=STREAMED, state=STATE, num_steps=7, **options):
    return jm.fit(LEARNER, sampler, ADAM, state, num_steps=num_steps, **{**OPTIONS, **options})


def feed(sampler=STREAMED, state=STATE, num_steps=4, tasks_per_step=4, **options):
    return jm.feed(sampler, state, num_steps=num_steps, tasks_per_step=tasks_per_step, **options)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "data", [DATA, DATA._replace(x={"a": DATA.x, "b": rng.normal(size=(40, 3))})], ids=["x", "tree"]
)
def test_the_same_tasks_bit_for_bit(layout, data):
    make, options = LAYOUTS[layout]
    if data is not DATA:
        options = {name: value for name, value in options.items() if name != "rotate"}
    here, away = make(data, **options), tasks.streamed(data, make, **options)
    key, call = jax.random.key(3), jax.jit(lambda sampler, key: sampler(key))
    assert_equal(call(here, key), call(away, key))
    assert_equal(call(here, key), jax.jit(away.finish)(away.draw(key), away.take(away.draw(key))))
    for step, stack in enumerate(feed(away)):
        assert_equal(on_device(here, STATE._replace(step=np.int32(step)), 4), stack)
        assert [a.dtype for a in jax.tree.leaves(stack)] == [a.dtype for a in jax.tree.leaves(call(here, key))]


def test_training_is_the_same_bit_for_bit():
    (state, history), (away, same) = fit(HERE), fit()
    assert_equal(state[:3], away[:3])
    assert_equal(history, same)


@pytest.mark.parametrize("num_threads", [1, 2, 9])
def test_the_number_of_threads_changes_nothing(num_threads):
    sampler = tasks.streamed(DATA, **RANGES, rotate="extra", num_threads=num_threads)
    assert_equal(fit(sampler)[0][:3], fit(HERE)[0][:3])


def test_a_checkpoint_of_training_is_one_of_the_stream(tmp_path):
    with closing(jm.checkpoint.keep(tmp_path, every=3)) as keeper:
        fit(callbacks=[keeper, lambda progress: True])  # ends while tasks lie ready that nobody took
    with closing(jm.checkpoint.keep(tmp_path)) as keeper:
        again = keeper.restore(STATE)
    assert int(again.step) == 3
    assert_equal(fit()[0][:3], fit(state=again)[0][:3])


def test_several_seeds_have_tasks_of_their_own():
    states = jm.init(LEARNER, STREAMED, ADAM, key=jax.random.split(jax.random.key(1), 2))
    assert_equal(fit(HERE, states)[0][:3], fit(state=states)[0][:3])


def test_over_a_mesh():
    mesh = jax.make_mesh((2,), ("task",))
    assert_equal(fit(HERE, mesh=mesh)[0][:3], fit(mesh=mesh)[0][:3])
    stack, whole = next(feed(mesh=mesh)), next(feed())
    assert_equal(whole, stack)
    assert {shard.data.shape[0] for shard in stack.query.x.addressable_shards} == {2}
    states = STATE._replace(key=jax.random.split(jax.random.key(1), 2))
    stack, whole = next(feed(state=states, mesh=mesh)), next(feed(state=states))
    assert_equal(whole, stack)
    assert {shard.data.shape[:2] for shard in stack.query.x.addressable_shards} == {(2, 2)}


@pytest.mark.slow
@needs_omniglot
def test_over_processes():
    (here, _), (one, other) = ran(2, 2, "--steps", "9"), ran(2, 2, "--steps", "9", "--streamed")
    for run in (one, other):
        for name in here:
            if not name.startswith("tasks"):  # each process's own
                np.testing.assert_array_equal(here[name], run[name])
    assert one["tasks/0"].shape == (2, 5, 28, 28, 1) and (one["tasks/0"] != other["tasks/0"]).any()


def test_a_process_looks_up_the_tasks_of_its_own_devices_alone(monkeypatch):
    mesh, places = jax.make_mesh((2,), ("task",)), sys.modules["jaxmeta.prefetch"]._places
    assert places(mesh, 6, 0)[0].tolist() == list(range(6))
    own = lambda sharding, shape: {mesh.devices[1]: (slice(3, 6),)}
    monkeypatch.setattr(jax.sharding.NamedSharding, "addressable_devices_indices_map", own)
    assert places(mesh, 6, 0)[0].tolist() == [3, 4, 5]


def test_init_and_evaluate_take_it_as_any_other():
    assert_equal(STATE[:3], jm.init(LEARNER, STREAMED, ADAM, key=jax.random.key(0))[:3])
    here, away = (jm.evaluate(LEARNER, STATE.meta, sampler, num_tasks=70) for sampler in (HERE, STREAMED))
    assert here == away
    _, history = fit(num_steps=4, eval_sampler=STREAMED, eval_every=2, eval_tasks=5)
    assert history["eval/accuracy"].shape == (2,)


def test_a_mapped_file_is_read_and_let_go(tmp_path):
    np.save(tmp_path / "x.npy", DATA.x)
    for mode in ("r", "c"):
        mapped = DATA._replace(x=np.load(tmp_path / "x.npy", mmap_mode=mode))
        if mode == "c":
            mapped.x[:] = 255 - mapped.x  # lives in this process's pages alone
        inverted = DATA._replace(x=np.array(mapped.x))
        sampler = tasks.streamed(mapped, **RANGES, rotate="extra")
        assert_equal(fit(tasks.episodes(inverted, **RANGES, rotate="extra"))[0][:3], fit(sampler)[0][:3])
        np.testing.assert_array_equal(mapped.x, inverted.x)


def test_anything_with_rows_can_be_read():
    class Decoded:
        shape, dtype = DATA.x.shape, DATA.x.dtype

        def __getitem__(self, rows):
            return np.stack([DATA.x[row] for row in rows.ravel()]).reshape(*rows.shape, *self.shape[1:])

    assert_equal(list(feed()), list(feed(tasks.streamed(DATA._replace(x=Decoded()), **RANGES, rotate="extra"))))


def test_what_fails_in_a_thread_is_raised_and_all_threads_end():
    class Broken:
        shape, dtype = DATA.x.shape, DATA.x.dtype

        def __getitem__(self, rows):
            raise OSError("the disk is gone")

    before = workers()
    with pytest.raises(OSError, match="the disk is gone"):
        list(feed(tasks.streamed(DATA._replace(x=Broken()), **SMALL)))
    fit(num_steps=1_000, callbacks=[lambda progress: progress.step >= 6])
    for thread in set(workers()) - set(before):
        thread.join(timeout=10)
    assert not set(workers()) - set(before)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: tasks.streamed(DATA, tasks.sinusoid), ValueError, "`make` must be `tasks.episodes` or"),
        (lambda: tasks.streamed(DATA.x, **SMALL), TypeError, "`data` must be a ClassSet, got ndarray"),
        (lambda: tasks.streamed(DATA._replace(x=3), **SMALL), TypeError, "`data.x` holds int, but `streamed`"),
        (lambda: tasks.streamed(DATA, **SMALL, num_threads=0), ValueError, "`num_threads` must be a positive whole"),
        (lambda: tasks.streamed(DATA, **{**SMALL, "num_ways": 9}), ValueError, "`num_ways` is 9 but `data` has 6"),
        (lambda: feed(HERE), TypeError, "`sampler` must come from `tasks.streamed`, got Episodes"),
        (lambda: feed(tasks_per_step=3, mesh=jax.make_mesh((2,), ("task",))), ValueError, "must divide the 3 tasks"),
        (lambda: feed(mesh=jax.make_mesh((2,), ("data",))), ValueError, "`mesh` needs an axis 'task'"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_without_grain(monkeypatch):
    monkeypatch.setattr(sys.modules["jaxmeta.prefetch"], "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="Streaming needs grain.*jaxmeta\\[stream\\]"):
        fit()
