"""The adapters: BatchNorm policies as properties, masks, dropout, parity of linen and nnx, modules of users."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from nets import Deep, LinenNet, LinenResNet, NnxNet, NnxResNet

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (6, 4)) + 1.0
Y = jnp.array([0, 1, 2, 0, 1, 2])
TASK = Task(Batch(X, Y), Batch(X + 0.5, Y))
ADAPTERS = {"linen": partial(jm.from_linen, LinenNet()), "nnx": partial(jm.from_nnx, NnxNet)}
adapters = pytest.mark.parametrize("api", ADAPTERS)

# norm: query points interact in training, in evaluation; state leaves the episode
POLICIES = {"transductive": (True, True, False), "support": (False, False, False), "running": (True, False, True)}


def statistics(state):
    return state.get("batch_stats", state)["bn"]


def gap(a, b):
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    assert [x.shape for x in a] == [y.shape for y in b]
    return max(float(jnp.abs(x - y).max()) for x, y in zip(a, b, strict=True))


@adapters
@pytest.mark.parametrize("norm", POLICIES)
def test_what_each_policy_means(api, norm):
    """Move the other query points: the first prediction moves, or does not."""
    in_training, in_evaluation, leaves = POLICIES[norm]
    model = ADAPTERS[api](norm=norm)
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.05), num_steps=2)
    meta = learner.init(KEY, TASK)
    adapted = learner.adapt(meta, TASK.support)
    moved = TASK.query.x.at[1:].add(9.0)

    first = lambda x: learner.predict(meta, adapted, x)[0]
    assert (gap(first(TASK.query.x), first(moved)) > 1e-4) == in_evaluation
    trained = lambda x: model.apply(Variables(adapted.params, adapted.state), x, train=True)[0][0]
    assert (gap(trained(TASK.query.x), trained(moved)) > 1e-4) == in_training

    state = learner.loss(meta, TASK, KEY)[1].state
    assert (gap(state, meta.state) > 0) == leaves
    found = jm.evaluate(learner, meta, lambda key: TASK, num_tasks=2)["accuracy"]
    assert found.transductive == in_evaluation


@adapters
def test_support_statistics_are_the_support_sets_own(api):
    """Whatever the module's momentum: the mean that is kept is the support set's, not 10 % of it."""
    model = ADAPTERS[api](norm="support")
    variables = model.init(KEY, X)
    _, state = model.apply_support(variables, X, train=True)
    expected = X @ variables.params["fc"]["kernel"] + variables.params["fc"]["bias"][None]
    np.testing.assert_allclose(statistics(state)["mean"], expected.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics(state)["var"], expected.var(0), rtol=1e-4, atol=1e-6)


@adapters
@pytest.mark.parametrize("num_steps", [0, 2])
def test_queries_see_the_support_statistics_of_the_adapted_parameters(api, num_steps):
    """Not the initial ones without steps, and not those before the last step."""
    learner = jm.maml(
        ADAPTERS[api](norm="support"), jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5), num_steps=num_steps
    )
    adapted = learner.adapt(learner.init(KEY, TASK), TASK.support)
    fc = adapted.params["fc"]
    expected = X @ fc["kernel"] + fc["bias"][None]
    np.testing.assert_allclose(statistics(adapted.state)["var"], expected.var(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["support", "running"])
@pytest.mark.usefixtures("x64")
def test_statistics_keep_their_dtype(norm):
    model, x = jm.from_linen(LinenNet(), norm=norm), X.astype(jnp.float64)
    variables = model.init(KEY, x)
    for run in (model.apply, model.apply_support):
        state = run(variables, x, train=True)[1]
        assert jax.tree.map(lambda a: a.dtype, state) == jax.tree.map(lambda a: a.dtype, variables.state)


@adapters
def test_running_statistics_are_a_moving_average_over_tasks(api):
    model = ADAPTERS[api](norm="running")
    learner, sgd = jm.protonet(model, num_ways=3), optax.sgd(0.0)
    tasks = jax.tree.map(lambda a: jnp.stack([a, 2 * a]) if a.dtype == jnp.float32 else jnp.stack([a, a]), TASK)
    state = jm.init(learner, TASK, sgd, key=KEY)
    new, _ = jax.jit(jm.meta_step(learner, sgd))(state, tasks)
    fc = state.meta.params["fc"]
    means = [(x @ fc["kernel"] + fc["bias"][None]).mean(0) for x in tasks.query.x]
    np.testing.assert_allclose(statistics(new.meta.state)["mean"], 0.1 * jnp.stack(means).mean(0), rtol=1e-4, atol=1e-6)


@adapters
@pytest.mark.parametrize("norm", ["transductive", "support"])
def test_masks_reach_batch_norm(api, norm):
    model = ADAPTERS[api](norm=norm)
    variables = model.init(KEY, X)
    padded, weight = jnp.concatenate([X, jnp.full((3, 4), 50.0)]), jnp.array([1.0] * 6 + [0.0] * 3)
    plain, state = model.apply_support(variables, X, train=True)
    hidden, hidden_state = model.apply_support(variables, padded, train=True, weight=weight)
    assert gap(plain, hidden[:6]) < 1e-5 and gap(state, hidden_state) < 1e-4
    assert gap(plain, model.apply_support(variables, padded, train=True)[0][:6]) > 1e-2  # it does matter
    nothing, _ = model.apply_support(variables, X, train=True, weight=jnp.zeros(6))
    assert bool(jnp.isfinite(nothing).all())


def test_masks_of_tokens():
    """Weights [N, L] for a BatchNorm over tokens, over merged tokens, and over pooled ones."""

    class Net(linen.Module):
        how: str

        @linen.compact
        def __call__(self, x):
            x = {"apart": x, "merged": x.reshape(-1, x.shape[-1]), "pooled": x.sum(1)}[self.how]
            return linen.BatchNorm(use_running_average=False, use_scale=False, use_bias=False)(x)

    x, weight = jax.random.normal(KEY, (3, 4, 2)), jnp.ones((3, 4)).at[2].set(0.0)
    for how in ("apart", "merged", "pooled"):
        model = jm.from_linen(Net(how))
        variables = model.init(KEY, x)
        rows = 2 * (4 if how == "merged" else 1)
        plain = model.apply(variables, x[:2], train=True)[0][:rows]
        assert gap(plain, model.apply(variables, x, train=True, weight=weight)[0][:rows]) < 1e-5, how


def test_a_weight_that_cannot_reach_batch_norm_is_an_error():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.BatchNorm(use_running_average=False)(x.T).T

    model = jm.from_linen(Net())
    with pytest.raises(ValueError, match="cannot hide padding from a BatchNorm"):
        model.apply(model.init(KEY, X), X, train=True, weight=jnp.ones(6))


@adapters
def test_dropout(api):
    model = ADAPTERS[api]()
    variables = model.init(KEY, X)
    run = lambda train, key: model.apply(variables, X, train=train, key=key)[0]
    one, other = jax.random.key(1), jax.random.key(2)
    assert gap(run(True, one), run(True, one)) == 0 < gap(run(True, one), run(True, other))
    assert gap(run(True, None), run(False, one)) == 0  # no key, or evaluation: deterministic
    _, state = model.apply(variables, X, train=True, key=one)
    assert jax.tree.structure(state) == jax.tree.structure(variables.state)  # no random counters in it


PAIRS = {
    "net": (LinenNet(), NnxNet, X),
    "resnet": (LinenResNet(0.0), partial(NnxResNet, 0.0), jax.random.normal(KEY, (6, 12, 12, 1))),
    "conv4": (
        jm.backbones.Conv4(3, features=8),
        lambda rngs: jm.backbones.NnxConv4((28, 28, 1), 3, features=8, rngs=rngs),
        jax.random.normal(KEY, (6, 28, 28, 1)),
    ),
    "conv4 max": (
        jm.backbones.Conv4(3, features=8, pool="max"),
        lambda rngs: jm.backbones.NnxConv4((28, 28, 1), 3, features=8, pool="max", rngs=rngs),
        jax.random.normal(KEY, (6, 28, 28, 1)),
    ),
    "mlp": (
        jm.backbones.MLP((8, 8), 3, norm=True),
        lambda rngs: jm.backbones.NnxMLP(4, (8, 8), 3, norm=True, rngs=rngs),
        X,
    ),
}


@pytest.mark.parametrize(
    "pair, norm",
    [("net", norm) for norm in POLICIES]
    + [
        pytest.param(pair, "support", marks=() if pair == "resnet" else pytest.mark.slow)
        for pair in PAIRS
        if pair != "net"
    ],
)
def test_linen_and_nnx_are_the_same_function(pair, norm):
    """One dict of parameters drives both: outputs, statistics and meta-gradients agree."""
    module, build, x = PAIRS[pair]
    models = jm.from_linen(module, norm=norm), jm.from_nnx(lambda rngs: build(rngs=rngs), norm=norm)
    variables = models[0].init(KEY, x)
    params = jax.tree.map(lambda a: a, models[1].init(KEY, x).params)
    shared = {name: {k: v for k, v in sub.items()} for name, sub in params.items()}
    given = variables.params
    params = jax.tree.map(lambda a: a, _overlay(shared, given))
    states = variables.state, variables.state.get("batch_stats", {})
    tasks = jax.tree.map(lambda a: jnp.stack([a, a]), Task(Batch(x, Y), Batch(0.9 * x, Y)))

    def result(model, params, state):
        learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=2)

        def loss(params):
            return jax.vmap(learner.loss, (None, 0, None))(Variables(params, state), tasks, None)[0].mean()

        outputs, left = model.apply(Variables(params, state), x, train=True)
        return outputs, left.get("batch_stats", left), jax.grad(loss)(params)

    linen_outputs, linen_state, linen_grads = jax.jit(partial(result, models[0]))(given, states[0])
    nnx_outputs, nnx_state, nnx_grads = jax.jit(partial(result, models[1]))(params, states[1])
    assert gap(linen_outputs, nnx_outputs) < 1e-5 and gap(linen_state, nnx_state) < 1e-5
    assert gap(linen_grads, _overlay(linen_grads, nnx_grads)) < 1e-4


def _overlay(base, values):
    """`base` with the leaves of `values` where both have them: nnx may own parameters that linen never makes."""
    if not isinstance(base, dict):
        return values
    return {name: _overlay(sub, values[name]) if name in values else sub for name, sub in base.items()}


def test_a_list_of_twelve_layers_keeps_its_order():
    model, x = jm.from_nnx(Deep), jnp.ones((1, 2))
    outputs, state = model.apply(model.init(KEY, x), x)
    assert gap(outputs, Deep(nnx.Rngs(KEY))(x)) < 1e-6 and not state


@pytest.mark.parametrize("api", ["linen", pytest.param("nnx", marks=pytest.mark.slow)])
def test_a_users_resnet_runs_without_grouped_convolutions(api):
    """A stock module with `train=`, BatchNorm and dropout: unchanged, and as fast as ours under the task axis."""
    model = jm.from_linen(LinenResNet()) if api == "linen" else jm.from_nnx(lambda rngs: NnxResNet(rngs=rngs))
    learner, adam = (
        jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=2),
        optax.adam(1e-3),
    )
    sampler = jm.tasks.glyphs(num_ways=5, num_shots=1, num_queries=1, split="train", size=12)
    tasks = jax.vmap(sampler)(jax.random.split(KEY, 3))
    state = jm.init(learner, sampler, adam, key=KEY)
    step = jax.jit(jm.meta_step(learner, adam))
    assert "feature_group_count = 3" not in step.lower(state, tasks).as_text()
    new, metrics = step(state, tasks)
    assert metrics["skipped"] == 0 and bool(jnp.isfinite(metrics["loss"]))


def test_from_functions_passes_only_what_is_accepted():
    seen = {}

    def apply(variables, x, *, key=None, train=False):
        seen.update(key=key, train=train)
        return x * variables.params

    model = jm.from_functions(lambda key, x: jnp.ones(()), apply)
    variables = model.init(KEY, X)
    assert isinstance(variables, Variables)
    model.apply(variables, X, train=True, weight=jnp.ones(6), key=KEY)
    assert seen["train"] is True and seen["key"] is KEY
    model.apply(variables, X, train=False, key=KEY)
    assert seen == {"key": None, "train": False}


def test_stateful_functions_keep_the_state_of_training():
    apply = lambda variables, x: (x.sum(-1, keepdims=True) * variables.params, variables.state + 1)
    model = jm.from_functions(lambda key, x: Variables(jnp.ones(()), jnp.zeros(())), apply, stateful=True)
    learner, sgd = jm.maml(model, jm.losses.mse, num_steps=1), optax.sgd(0.0)
    task = Task(Batch(X, X[:, :1]), Batch(X, X[:, :1]))
    state = jm.init(learner, task, sgd, key=KEY)
    new, _ = jm.meta_step(learner, sgd)(state, jax.tree.map(lambda a: a[None], task))
    assert float(new.meta.state) == 2.0  # one support pass and one query pass
    assert learner.adapt(state.meta, task.support).state == 0.0


@pytest.mark.parametrize(
    "make, error, text",
    [
        (
            lambda: jm.from_linen(LinenNet(), norm="batch"),
            ValueError,
            "`norm` must be 'transductive', 'support' or 'running'",
        ),
        (lambda: jm.from_linen(LinenNet), TypeError, "`module` must be a flax.linen module"),
        (lambda: jm.from_nnx(NnxNet(nnx.Rngs(0))), TypeError, "`build` must be a function of `nnx.Rngs`"),
        (lambda: jm.backbones.Conv4(pool="avg").init(KEY, jnp.ones((1, 28, 28, 1))), ValueError, "`pool` must be"),
        (lambda: jm.backbones.initializer("xaver"), ValueError, "The initialiser must be one of"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()
