"""The line of progress: shown to a terminal and a notebook, quiet elsewhere; what it says and how it is rewritten."""

import io
import sys
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import progress
from jaxmeta.callbacks import Progress

SINES, ADAM = jm.tasks.sinusoid(num_shots=2, num_queries=2), optax.adam(1e-3)
LEARNER = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse, num_steps=1)


class Terminal(io.StringIO):
    """What a program takes for a terminal."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What a person sees, in order; a carriage return begins a line anew."""
        return [line.rstrip() for line in self.getvalue().removesuffix("\n").split("\r") if line]


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return errors_into(Terminal(), monkeypatch)


def errors_into(file, monkeypatch):
    """Make this the standard error of the module; pytest puts its own in place of Python's."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=file, modules=sys.modules, platform=sys.platform))
    return file


def train(**options):
    state = jm.init(LEARNER, SINES, ADAM, key=jax.random.key(0))
    options = {"log_every": 2, "eval_sampler": SINES, "eval_every": 4, "eval_tasks": 3} | options
    return jm.fit(LEARNER, SINES, ADAM, state, num_steps=4, tasks_per_step=2, **options)


def test_a_person_at_a_terminal_sees_phases_steps_and_metrics(terminal):
    _, history = train()
    compiling, first, validating, last = terminal.lines()
    assert compiling == "─" * 20 + "  compiling ..." and terminal.getvalue().endswith("\n")
    assert first.startswith("━" * 10 + "─" * 10 + f"  step 2 of 4  mse {history['mse'][:2].mean():.3f}  speed ")
    assert validating == "━" * 10 + "─" * 10 + "  step 2 of 4  validating on 3 tasks ..."
    assert last.startswith("━" * 20 + "  step 4 of 4  0 s left  mse ")
    assert f"  validation mse {history['eval/mse'][0]:.3f}  speed " in last


def test_nobody_else_does(monkeypatch, terminal):
    train(progress=False)
    file = errors_into(io.StringIO(), monkeypatch)
    train()
    assert terminal.getvalue() == file.getvalue() == ""
    train(progress=True)
    assert "step 4 of 4" in file.getvalue()


def test_a_notebook_is_watched(monkeypatch):
    errors_into(io.StringIO(), monkeypatch)
    for shell, watched in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert progress.is_watched() == watched


def test_the_line_ends_where_training_fails(terminal):
    def fail(at):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        train(callbacks=[fail])
    assert terminal.getvalue().endswith("\n")


def test_a_function_is_told_the_phases():
    said = []
    train(progress=said.append)
    assert said == ["compiling", "validating on 3 tasks"]
    with pytest.raises(ValueError, match="`progress` must be 'auto', True, False or a function of a text, got 'no'"):
        train(progress="no")


def test_a_line_fits_the_terminal_and_leaves_nothing_of_a_longer_one(terminal, monkeypatch):
    line = progress.Line(10)
    line.say("a rather long phase")
    line.say("short")
    long, short = terminal.getvalue().split("\r")[1:]
    assert len(long) == len(short) and short.rstrip().endswith("  short ...")
    monkeypatch.setenv("COLUMNS", "30")
    line.say("a rather long phase")
    assert len(terminal.lines()[-1]) < 30


def test_time_left_leaves_compilation_out(monkeypatch):
    clock = iter([100.0, 101.0, 103.0, 10_103.0])  # steps 50, 60, 80 and 81
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    timer, at = progress.Timer(), lambda step: Progress(step, None, 1_000, {}, None, 1.0)
    assert [timer.left(at(step)) for step in (50, 60, 80, 81)] == ["", "1 min left", "1 min left", "82 h 22 min left"]


def test_several_seeds_show_their_mean(terminal):
    metrics = {"loss": np.array([1.0, 3.0]), "accuracy": np.array([0.25, 0.75])}
    assert progress.news(Progress(1, None, 9, metrics, None, 5.0)).startswith("loss 2.000  accuracy 50.0 %  speed 5 ")
