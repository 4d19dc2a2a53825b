"""The host loop: reproducible, resumable, validated, stoppable; several seeds; several devices."""

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, KINDS, build

import jaxmeta as jm
from jaxmeta import Diverged, EarlyStopping, Progress

SAMPLER = KINDS["regression"].sampler
LEARNER, ADAM = build("maml", "regression"), optax.adam(1e-2)
STATE = jm.init(LEARNER, SAMPLER, ADAM, key=KEY)
OPTIONS = {"tasks_per_step": 4, "log_every": 5}


def fit(state=STATE, **options):
    return jm.fit(LEARNER, SAMPLER, ADAM, state, **{**OPTIONS, **options})


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a[1:3], b[1:3])  # meta, opt_state


def test_stopped_and_continued_equals_uninterrupted_bit_for_bit():
    whole, history = fit(num_steps=23)
    half, first = fit(num_steps=7)
    both, second = fit(half, num_steps=23)
    assert_equal(whole, both)
    np.testing.assert_array_equal(history["loss"], np.concatenate([first["loss"], second["loss"]]))
    np.testing.assert_array_equal(history["step"], np.arange(1, 24))


def test_how_often_it_reports_changes_nothing():
    assert_equal(fit(num_steps=12)[0], fit(num_steps=12, log_every=12)[0])


def test_it_is_meta_step_on_the_tasks_of_each_step():
    from jaxmeta.step import draw_tasks

    state, step = STATE, jax.jit(jm.meta_step(LEARNER, ADAM))
    for _ in range(3):
        state, _ = step(state, draw_tasks(SAMPLER, state, 4))
    fitted, _ = fit(num_steps=3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state[1:3], fitted[1:3])


def test_the_callers_state_stays_valid():
    fit(num_steps=5)
    assert bool(jnp.isfinite(jax.tree.leaves(STATE.meta.params)[0]).all())


def test_one_compilation_whatever_the_number_of_steps():
    from jaxmeta.fit import _meta_step, _runner

    fit(num_steps=13)
    fit(num_steps=3)
    fit(num_steps=31)
    run = _runner(_meta_step(LEARNER, ADAM, "auto", None, None, "step"), 4, 5, None)
    assert sum(program._cache_size() for program in run.programs) == 1


def test_one_by_one_equals_a_loop_on_the_device(monkeypatch):
    """A CPU dispatches steps with convolutions one by one, and others in one loop."""
    module = sys.modules["jaxmeta.fit"]
    monkeypatch.setattr(module, "_runner", module._runner.__wrapped__)
    looped, history = fit(num_steps=13)
    monkeypatch.setattr(module, "has_convolution", lambda jaxpr: True)
    alone, again = fit(num_steps=13)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone.meta, looped.meta)
    np.testing.assert_allclose(history["loss"], again["loss"], rtol=1e-4)


def test_validation_callbacks_and_history():
    seen: list[Progress] = []
    _, history = fit(num_steps=20, eval_sampler=SAMPLER, eval_every=8, eval_tasks=6, callbacks=[seen.append])
    assert [p.step for p in seen] == [5, 8, 10, 15, 16, 20]
    assert [p.step for p in seen if p.estimates] == [8, 16, 20] == history["eval/step"].tolist()
    assert history["eval/mse"].shape == history["eval/mse/ci95"].shape == (3,)
    np.testing.assert_allclose(seen[0].metrics["loss"], history["loss"][:5].mean(), rtol=1e-6)
    assert seen[-1].estimates["mse"].num_tasks == 6


def test_a_callback_ends_training():
    state, history = fit(num_steps=50, callbacks=[lambda progress: progress.step >= 10])
    assert int(state.step) == 10 == len(history["loss"])


def test_only_true_ends_training_and_it_is_said_by_whom(caplog):
    def stop(progress):
        return jnp.array(progress.step >= 10)

    state, _ = fit(num_steps=15, callbacks=[lambda progress: "a string", stop])
    assert int(state.step) == 10
    assert "stop ended training at step 10 of 15" in caplog.text and "lambda" not in caplog.text


@pytest.mark.parametrize("mode, stops_at", [("min", 50), ("max", 15)])
def test_early_stopping_keeps_the_best(mode, stops_at):
    """The error falls, so `min` goes on and `max` has its best at the first validation."""
    stopping = EarlyStopping("mse", patience=2, mode=mode)
    state, history = fit(num_steps=50, eval_sampler=SAMPLER, eval_every=5, eval_tasks=200, callbacks=[stopping])
    best = getattr(np, f"arg{mode}")(history["eval/mse"])
    assert stopping.best_step == history["eval/step"][best]
    if mode == "max":
        assert int(state.step) == stops_at
    found = jm.evaluate(LEARNER, stopping.best_meta, SAMPLER, num_tasks=200)["mse"].mean
    np.testing.assert_allclose(found, stopping.best, rtol=1e-6)


def test_early_stopping_goes_on_where_an_earlier_process_left_off(tmp_path):
    def script(num_steps, state=STATE):
        stopping = EarlyStopping("mse", patience=2, mode="max", folder=tmp_path / "best")
        stopping.restore(state)
        validation = {"eval_sampler": SAMPLER, "eval_every": 5, "eval_tasks": 20}
        return *fit(state, num_steps=num_steps, callbacks=[stopping], **validation), stopping

    whole, _, expected = script(50)
    for file in (tmp_path / "best").iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    early, _, _ = script(10)
    state, history, stopping = script(50, early)
    kept = (tmp_path / "best" / "validations.json").read_text()
    assert int(state.step) == int(whole.step) == 15 and history["step"].tolist() == [11, 12, 13, 14, 15]
    assert (stopping.best, stopping.best_step) == (expected.best, expected.best_step)
    jax.tree.map(np.testing.assert_array_equal, stopping.best_meta, expected.best_meta)
    falling = EarlyStopping("mse", mode="min", folder=tmp_path / "falling")
    fit(num_steps=10, eval_sampler=SAMPLER, eval_every=5, eval_tasks=20, callbacks=[falling])
    assert falling.best_step == 10
    earlier = EarlyStopping("mse", mode="min", folder=tmp_path / "falling")  # what was kept is of a later step
    earlier.restore(STATE._replace(step=jnp.int32(5)))
    assert earlier.best_step == 5 and earlier.best_meta is None
    (tmp_path / "best" / "validations.json").write_text("[[1]]")
    with pytest.raises(ValueError, match="validations.json' holds no validations"):
        stopping.restore(state)
    (tmp_path / "best" / "validations.json").write_text(kept)
    again, history, stopping = script(50, state)  # a finished script takes no step and has its best
    assert int(again.step) == 15 and len(history["step"]) == 0
    jax.tree.map(np.testing.assert_array_equal, stopping.best_meta, expected.best_meta)


def test_several_seeds_at_once_equal_one_after_the_other():
    keys = jax.random.split(KEY, 3)
    states = jm.init(LEARNER, SAMPLER, ADAM, key=keys)
    together, history = fit(states, num_steps=6, eval_sampler=SAMPLER, eval_every=6, eval_tasks=5)
    assert history["loss"].shape == (6, 3) and together.step.shape == (3,)
    for i, key in enumerate(keys):
        alone, row = fit(jm.init(LEARNER, SAMPLER, ADAM, key=key), num_steps=6)
        np.testing.assert_allclose(history["loss"][:, i], row["loss"], rtol=1e-3)
    found = jm.evaluate_seeds(LEARNER, together.meta, SAMPLER, num_tasks=5)["mse"]
    each = [
        jm.evaluate(LEARNER, jax.tree.map(lambda a, i=i: a[i], together.meta), SAMPLER, num_tasks=5)["mse"].mean
        for i in range(3)
    ]
    np.testing.assert_allclose(found.mean, np.mean(each), rtol=1e-6)
    np.testing.assert_allclose(found.ci95, 4.302653 * np.std(each, ddof=1) / 3**0.5, rtol=1e-5)  # t, 2 degrees


def test_a_mesh_splits_the_tasks_and_changes_nothing():
    mesh = jax.make_mesh((2,), ("task",))
    one, history = fit(num_steps=3)
    two, same = fit(num_steps=3, mesh=mesh)
    np.testing.assert_allclose(history["loss"], same["loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one.meta, two.meta)
    assert len(jax.tree.leaves(two.meta)[0].sharding.device_set) == 2


def test_more_steps_over_a_mesh_than_a_cpu_keeps_in_flight():
    mesh = jax.make_mesh((2,), ("task",))
    state, history = fit(num_steps=200, log_every=200, mesh=mesh)
    assert int(state.step) == 200 and np.isfinite(history["loss"]).all()


def test_a_step_of_ones_own():
    def step(state, tasks):
        return state._replace(step=state.step + 1), {"support": tasks.support.x.mean()}

    state, history = fit(num_steps=4, step=step)
    assert int(state.step) == 4 and history["support"].shape == (4,)
    assert_equal(state, STATE)


def test_divergence_is_an_error_that_keeps_the_last_good_state():
    wild = jm.maml(jm.from_linen(KINDS["regression"].net), jm.losses.mse, inner_optimizer=optax.sgd(1e30), num_steps=3)
    state = jm.init(wild, SAMPLER, ADAM, key=KEY)
    with pytest.raises(
        Diverged,
        match="10 updates in a row, up to step 10, were left out, with `loss`.* causes: NaN or infinity in the data",
    ) as caught:
        jm.fit(wild, SAMPLER, ADAM, state, num_steps=100, max_skipped=10, **OPTIONS)
    assert_equal(caught.value.state, state)


def bad_step(is_bad):
    """An outer step whose metrics say that the update was left out."""
    return lambda state, tasks: (state._replace(step=state.step + 1), {"skipped": jnp.float32(is_bad(state))})


def test_a_run_whose_every_update_was_left_out_has_diverged():
    with pytest.raises(
        Diverged, match="All 4 updates, up to step 4, were left out, with every metric finite.*`jnp.where`"
    ) as caught:
        fit(num_steps=4, step=bad_step(lambda state: True))
    assert int(caught.value.state.step) == 4
    assert int(fit(num_steps=4, step=bad_step(lambda state: state.step > 0))[0].step) == 4


def test_a_seed_that_diverges_is_named_and_the_others_go_on(caplog):
    seeds = jax.tree.map(lambda a: jnp.stack([a, a]), STATE._replace(key=jax.random.key_data(KEY)))
    seeds = seeds._replace(key=jax.random.wrap_key_data(seeds.key), meta=seeds.meta._replace(state=jnp.arange(2)))
    state, _ = fit(seeds, num_steps=10, step=bad_step(lambda state: state.meta.state == 1), max_skipped=5)
    assert state.step.tolist() == [10, 10] and "Seeds [1] diverged by step 5" in caplog.text


def test_nothing_to_do():
    state, history = fit(fit(num_steps=4)[0], num_steps=4)
    assert int(state.step) == 4 and history["step"].size == 0


@pytest.mark.parametrize(
    "options, text",
    [
        ({"num_steps": 0}, "`num_steps` must be at least 1, got 0"),
        ({"num_steps": 5, "tasks_per_step": 0}, "`tasks_per_step` must be at least 1"),
        ({"num_steps": 5, "eval_every": 2}, "`eval_every=2` needs an `eval_sampler`"),
        ({"num_steps": 5, "chunk": 3}, "`chunk` must divide the 4 tasks"),
        ({"num_steps": 5, "step": lambda *_: None, "guard": "step"}, "belong to `meta_step`"),
        ({"num_steps": 5, "callbacks": [EarlyStopping("mse")]}, "`EarlyStopping` needs validation"),
    ],
)
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        fit(**options)


def test_a_metric_that_validation_does_not_have():
    with pytest.raises(ValueError, match="`metric` 'accuracy' is not among the validation's metrics"):
        fit(num_steps=5, eval_sampler=SAMPLER, eval_every=5, callbacks=[EarlyStopping("accuracy")])
