"""Plans: what is counted, checked by hand; what is said of devices that are not there; TPUs, where libtpu is."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta.cli import main
from jaxmeta.planning import Collective, plan, topology
from jaxmeta.planning._collectives import collectives
from jaxmeta.planning._flops import flops


def sine(num_steps=1, **changes):
    learner = jm.maml(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=num_steps)
    options = {"mesh": topology("cpu:2"), "tasks_per_step": 4} | changes
    return plan(learner, jm.tasks.sinusoid(), optax.adam(1e-3), **options)


def test_the_only_communication_is_the_meta_gradient():
    found = sine()
    parameters, metrics = 8 + 8 + 8 + 1, 1  # the loss is the metric: one number
    assert found.collectives == (Collective("all-reduce", 1, 4 * (parameters + metrics), among=2),)
    assert (found.devices, found.tasks_per_step, found.fits, found.refusal) == (2, 4, None, "")
    assert found.memory.temporaries > 0 and found.memory.arguments >= 3 * 4 * parameters
    assert found.memory.total == sum(found.memory)


def test_sharded_parameters_are_gathered_and_their_gradients_scattered():
    found = {c.kind: c for c in sine(shard=jm.parallel.fsdp(min_size=8)).collectives}
    assert found["all-gather"].bytes == found["reduce-scatter"].bytes == 4 * 3 * 8
    assert found["all-reduce"].bytes < 4 * 8  # a bias, the metric, and whether each shard is finite


def test_a_single_device_has_nobody_to_talk_to(capsys):
    assert len(jax.devices()) == 2  # are there before the command asks for one, and stay for the tests after this
    assert main(["plan", "sinusoid_maml", "--topology", "cpu:1"]) == 0
    assert re.search(r"communication\W+none\b", capsys.readouterr().out)
    assert main(["plan", "sinusoid_maml", "--topology", "cpu:2", "--tasks-per-device", "1", "--fsdp-over", "3"]) == 2
    assert "`--fsdp-over` is 3, which does not divide the 2 devices" in capsys.readouterr().err


def test_groups_of_one_split_nothing():
    found = sine(mesh=topology("cpu:2", fsdp=1), shard=jm.parallel.fsdp(min_size=8))
    assert [c._replace(count=1) for c in found.collectives] == list(sine().collectives)


def test_flops_follow_tasks_and_inner_steps():
    one, two, three = (sine(num_steps=k).flops for k in (1, 2, 3))
    assert three - two == two - one > 0
    assert sine(tasks_per_step=8).flops == 2 * one == 2 * sine(chunk=1).flops


def test_data_may_be_shapes():
    data = jm.datasets.from_arrays(np.zeros((20, 8, 8, 1), np.uint8), np.repeat(np.arange(4), 5))
    sampler = jm.tasks.episodes(data, num_ways=2, num_shots=1, num_queries=1)
    learner = jm.protonet(jm.from_linen(jm.backbones.Conv4(features=2)))
    options = {"mesh": topology("cpu:1"), "tasks_per_step": 1}
    small = plan(learner, sampler, optax.sgd(0.1), **options)
    sampler.__dict__["x"] = jax.ShapeDtypeStruct((10**9, 8, 8, 1), np.uint8)  # 64 GB
    large = plan(learner, sampler, optax.sgd(0.1), **options)
    assert large.memory.arguments - small.memory.arguments == 64 * (10**9 - 20)


def of(f, *shapes):
    return flops(jax.make_jaxpr(f)(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_flops_by_hand():
    product = 2 * 3 * 4 * 5
    assert of(jnp.matmul, (3, 4), (4, 5)) == product
    assert of(jax.vmap(jnp.matmul), (7, 3, 4), (7, 4, 5)) == 7 * product
    assert of(lambda a, b: (a @ b, b.sum())[1], (3, 4), (4, 5)) == 0  # of no use to the result
    assert (
        of(lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b, lambda: jnp.zeros((3, 5))), (3, 4), (4, 5)) == product
    )
    assert of(lambda a, b: jax.jit(jax.checkpoint(jnp.matmul))(a, b), (3, 4), (4, 5)) == product
    assert of(lambda xs, w: jax.lax.scan(lambda x, _: (x @ w, None), xs, length=6), (4, 4), (4, 4)) == 6 * 2 * 4**3


@pytest.mark.parametrize("conv", [jax.lax.conv_general_dilated, jm.ops.conv_general_dilated])
def test_flops_of_convolutions(conv):
    run = lambda x, w: conv(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x, w, y = (5, 8, 8, 3), (3, 3, 3, 4), (5, 4, 4, 4)
    one = 2 * prod(y) * prod(w[:-1])
    assert of(run, x, w) == one
    assert of(jax.grad(lambda w, x: run(x, w).sum()), w, x) == one  # the kernel's gradient alone
    assert of(jax.grad(lambda x, w: run(x, w).sum()), x, w) == one
    if conv is jm.ops.conv_general_dilated:
        assert of(jax.vmap(run), (2, *x), (2, *w)) == 2 * one


PROGRAM = """
%body (p: f32[2]) -> f32[2] {
  %g = (f32[2]{0}, f32[8]{0:T(8)}) all-gather-start(%p), replica_groups=[2,4]<=[8], dimensions={0}
  %d = f32[8]{0:T(8)} all-gather-done(%g)
}
%start (p: f32[2]) -> (f32[2], f32[8]) {
  %g = f32[8] all-gather(%p), replica_groups=[2,4]<=[8], backend_config={"async_collective_fusion_config":{}}
  ROOT %c = (f32[2], f32[8]) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}
%goes_on (p: f32[2], q: f32[8]) -> f32[8] {
  %g = f32[8] all-gather(%p), replica_groups=[2,4]<=[8], backend_config={"async_collective_fusion_config":{}}
}
ENTRY %main (a: f32[2]) -> f32[2] {
  %w = f32[2] while(%a), condition=%test, body=%body
  %s = (bf16[3,4]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/pred[]) all-reduce(%b, %c), to_apply=%sum
  %t = f32[] all-reduce(%e), to_apply=%sum
  %r = s8[6] reduce-scatter(%f), replica_groups={{0,1,2},{3,4,5}}, dimensions={0}
}
"""


def test_collectives_of_a_program():
    assert set(collectives(PROGRAM)) == {
        Collective("all-gather", 1, 32, looped=True, among=4),
        Collective("all-gather", 1, 32, among=4),
        Collective("all-reduce", 2, 25 + 4),
        Collective("reduce-scatter", 1, 18, among=3),
    }


@pytest.mark.parametrize(
    "groups, devices",
    {
        "{{0,1,2},{3,4,5}}": 3,
        "{{0},{1,2,3}}": 3,
        "[2,4]<=[8]": 4,
        "mesh['a'=2,'b'=4] {'b'}": 4,
        "mesh['a'=2,'b'=4] {'a','b'}": 8,
        "mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}": 2,
        "mesh['a'=8] {'a':(2)4}": 4,
    }.items(),
)
def test_devices_of_a_group(groups, devices):
    (found,) = collectives(f"  %r = s8[6] reduce-scatter(%f), replica_groups={groups}, dimensions={{0}}")
    assert (found.bytes, found.among) == (6 * devices, devices)


def test_a_device_that_is_alone_in_its_group_says_nothing():
    assert collectives("  %g = f32[8] all-gather(%p), replica_groups={{0},{1}}, dimensions={0}") == ()


@pytest.mark.parametrize("name", ["v5e:2x2x", "v5f:2x2", "v5e", "cpu:2x2", "cpu:0", ""])
def test_unknown_topologies(name):
    with pytest.raises(ValueError, match="is no topology.*There are v5e:1x1, 2x2"):
        topology(name)


def test_near_matches():
    with pytest.raises(ValueError, match="Did you mean 'v5e:4x4'"):
        topology("v5e-4x4")


def test_too_many_devices_of_this_host():
    with pytest.raises(ValueError, match='has 2 CPU.*"jax_num_cpu_devices", 64'):
        topology("cpu:64")


def test_without_libtpu(monkeypatch):
    monkeypatch.setattr("jaxmeta.planning._topology.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install \"jaxmeta\[plan\]\""):
        topology("v5e:2x2")


def test_tasks_that_do_not_divide():
    with pytest.raises(ValueError, match="2 devices, which must divide the 3 tasks"):
        sine(tasks_per_step=3)


def test_command_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path))
    call = ["plan", "sinusoid_maml", "--hidden", "4", "--topology", "cpu:2"]
    assert main([*call, "--tasks-per-device", "3"]) == 0
    said = capsys.readouterr().out
    assert "6 tasks, 3 on each device" in said and "1 all-reduce" in said
    assert main([*call, "--tasks-per-step", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks_per_step"] == 4 and found["memory"]["total"] > 0 and found["fits"] is None
    assert main(call) == 2
    assert "25 tasks" in (said := capsys.readouterr().err) and "--tasks-per-device" in said


def test_where_a_step_lies_is_asked_for_as_in_training(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path))
    asked, found = {}, sine()
    monkeypatch.setattr("jaxmeta.planning.plan", lambda *args, **options: asked.update(options) or found)
    call = ["plan", "glyphs_maml", "--topology", "cpu:2", "--json"]
    assert main([*call]) == 0 and (asked["chunk"], asked["shard"]) == ("auto", None)
    assert main([*call, "--fsdp", "--chunk", "2"]) == 0 and asked["chunk"] == 2
    assert asked["shard"]("params/kernel", (256, 256), {"task": 2}) == jax.P("task")
    assert main([*call, "--fsdp-over", "2"]) == 0 and dict(asked["mesh"].shape) == {"task": 1, "fsdp": 2}
    assert asked["shard"]("params/kernel", (256, 256), dict(asked["mesh"].shape)) == jax.P("fsdp")
    told = []
    for command in ("plan", "train"):
        capsys.readouterr()
        assert main([command, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.replace("│", "").split())
        told.append(said[said.index("--fsdp") :].partition("--chunk")[0])
    assert told[0] == told[1]  # and explained in the same words


TPU = """
import json, jax, optax, jaxmeta as jm
from jaxmeta.planning import plan, topology

jax.config.update("jax_platforms", "cpu")
model = jm.from_linen(jm.backbones.Conv4(num_outputs=2, features=2))
learner = jm.maml(model, jm.losses.cross_entropy)
sampler = jm.tasks.glyphs(num_ways=2, num_shots=1, num_queries=1)

def found(name, tasks):
    mesh = topology(name)
    it = plan(learner, sampler, optax.adam(1e-3), mesh=mesh, tasks_per_step=tasks * mesh.size)
    return it._asdict() | {"memory": it.memory and it.memory._asdict(), "fits": it.fits}

mesh = topology("v5e:2x2")
place = jax.NamedSharding(mesh, jax.P("task"))
x, w = (jax.ShapeDtypeStruct(s, "float32", sharding=place) for s in ((4, 1, 8, 8, 2), (4, 3, 3, 2, 2)))
conv = lambda x, w: jm.ops.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
lowered = jax.jit(jax.vmap(conv)).lower(x, w).as_text()
plans = [found("v5e:2x2", 2), found("v5e:4x4", 2), found("v5e:2x2", 10**6)]
print(json.dumps([plans, "stablehlo.dot_general" in lowered, "stablehlo.convolution" in lowered]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("libtpu") is None, reason='the compiler of TPUs is not there: pip install "jaxmeta[plan]"'
)
def test_tpus_that_are_not_there():
    done = subprocess.run([sys.executable, "-c", TPU], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (four, sixteen, large), product, convolution = json.loads(done.stdout.splitlines()[-1])
    assert (four["devices"], sixteen["devices"]) == (4, 16)
    temporaries = [found["memory"]["temporaries"] for found in (four, sixteen)]
    assert max(temporaries) <= 1.02 * min(temporaries)
    assert four["collectives"] == sixteen["collectives"] and [c[:2] for c in four["collectives"]] == [["all-reduce", 1]]
    assert four["fits"] and sixteen["fits"] and not large["fits"] and "HBM" in large["refusal"]
    assert product and not convolution  # kernels of tasks become matrix products
