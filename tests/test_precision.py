"""Mixed precision: bfloat16 inside the network; parameters, statistics, losses and meta-gradients in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmeta as jm

KEY = jax.random.key(0)


def meta_gradient(dtype, norm):
    model = jm.from_linen(jm.backbones.Conv4(num_outputs=5, features=8, dtype=dtype), norm=norm)
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=1)
    task = jax.jit(jm.tasks.glyphs(num_ways=5, num_shots=2, num_queries=5))(KEY)
    meta = jax.jit(learner.init)(KEY, task)
    loss = lambda params: learner.loss(jm.Variables(params, meta.state), task, KEY)
    (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(meta.params)
    return value, aux, grads


def test_bfloat16_computes_and_float32_keeps():
    value, aux, grads = meta_gradient(jnp.bfloat16, "running")
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((value, aux, grads))}
    assert dtypes == {jnp.dtype(jnp.float32)}


def test_the_exact_meta_gradient_survives_bfloat16():
    """Rounding to 8 bits leaves its direction; a network that ignored the option would agree to float32 rounding."""
    half, full = (meta_gradient(dtype, "transductive")[2] for dtype in (jnp.bfloat16, None))
    half, full = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)]) for grads in (half, full))
    cosine = half @ full / np.linalg.norm(half) / np.linalg.norm(full)
    assert 0.95 < cosine < 0.999999
