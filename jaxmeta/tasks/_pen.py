r"""Characters as strokes of a pen: drawn at random, drawn again by a shaky hand, rendered as images.

A stroke is a path of constant speed whose heading changes linearly, except at one sharp corner. This gives lines, arcs,
loops and hooks. With $u$ from 0 to 1 along the stroke, in (row, column),

$$\theta(u) = \theta_0 + \kappa u + \gamma [u > c], \qquad
p(u) = p_0 + \ell \int_0^u (\sin\theta(v), \cos\theta(v))\,dv.$$

Letters: S strokes, P points per stroke.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Key

POINTS = 24  # per stroke: at size 28 about one per pixel
BOX = 0.68  # the longer side of a character, as a share of the image
PEN = 0.56 / 28  # the standard deviation of the ink across a stroke, as a share of the image
DARKNESS = 3.0  # ink in the middle of a line is 1 - exp(-3)


class Strokes(NamedTuple):
    """A character, or one drawing of it: float32 ``[S]`` each, ``start`` and ``wobble`` ``[2, S]``.

    Attributes:
      heading: the direction at the start, in radians.
      length: the length of the stroke; only ratios matter.
      turn: the change of heading over the whole stroke.
      corner: the sudden change of heading at the corner.
      corner_at: the position of the corner on the stroke, 0 to 1.
      joint: the position on the previous stroke at which this one starts, 0 to 1.
      start: the offset of the start from that point, (row, column).
      wobble: the amplitudes of a cosine and a sine along the stroke, which are added to the heading.
      present: 1, or 0 for strokes that the character does not have.
    """

    heading: jax.Array
    length: jax.Array
    turn: jax.Array
    corner: jax.Array
    corner_at: jax.Array
    joint: jax.Array
    start: jax.Array
    wobble: jax.Array
    present: jax.Array


@partial(jax.jit, static_argnames="num_strokes")
def invent(key: Key, num_strokes: tuple[int, int]) -> Strokes:
    """Draw a character with ``num_strokes`` (fewest, most) strokes, most of which are connected."""
    fewest, most = num_strokes
    fraction = iter(jax.random.uniform(key, [12, most], jnp.float32))
    uniform = lambda low, high: low + (high - low) * next(fraction)
    pick = lambda *options: jnp.array(options, jnp.float32)[jnp.int32(len(options) * next(fraction))]
    angle, free = uniform(0, 2 * math.pi), pick(0, 0, 1)
    last = jnp.int32(uniform(fewest, most + 1)[0])
    return Strokes(
        heading=math.pi / 4 * pick(*range(8)) + uniform(-0.3, 0.3),
        length=uniform(0.4, 1.0),
        turn=math.pi * pick(0, 0, -0.5, 0.5, -1, 1, -1.5, 1.5) * uniform(0.8, 1.2),
        corner=math.pi * pick(0, 0, 0, -0.5, 0.5, -0.75, 0.75),
        corner_at=uniform(0.3, 0.7),
        joint=pick(0, 0.5, 1),
        start=jnp.stack([jnp.sin(angle), jnp.cos(angle)]) * (free * uniform(0.2, 0.5))[None, :],
        present=jnp.float32(jnp.arange(most, dtype=jnp.int32) < last),
        wobble=jnp.zeros([2, most], jnp.float32),
    )


def shake(strokes: Strokes, noise: jax.Array) -> Strokes:
    """Add noise ``[10, S]`` to all numbers of the strokes, as a hand does that repeats a character."""
    return strokes._replace(
        heading=strokes.heading + 0.12 * noise[0],
        length=strokes.length * jnp.exp(0.12 * noise[1]),
        turn=strokes.turn + 0.25 * noise[2],
        corner=strokes.corner * (1 + 0.1 * noise[3]),
        corner_at=strokes.corner_at + 0.06 * noise[4],
        joint=strokes.joint + 0.06 * noise[5],
        start=strokes.start + 0.04 * noise[6:8],
        wobble=0.12 * noise[8:],
    )


def trace(strokes: Strokes) -> jax.Array:
    """Return the points of the pen ``[S, P, 2]``, (row, column); absent strokes stay at the start of the first."""
    u = (jnp.arange(POINTS - 1, dtype=jnp.float32) + 0.5)[None, :] / (POINTS - 1)
    column = lambda a: a[:, None]
    behind = jnp.clip(40 * (u - column(strokes.corner_at)), 0, 1)
    bend = column(strokes.turn) * u + column(strokes.corner) * behind
    waves = jnp.stack([jnp.cos(2 * math.pi * u[0]), jnp.sin(2 * math.pi * u[0])])
    heading = column(strokes.heading) + bend + strokes.wobble.T @ waves
    steps = jnp.stack([jnp.sin(heading), jnp.cos(heading)], -1) / (POINTS - 1)
    steps = steps * strokes.length[:, None, None]
    paths = jnp.pad(jnp.cumsum(steps, 1), ((0, 0), (1, 0), (0, 0)))
    joints = jnp.clip(jnp.round(strokes.joint * (POINTS - 1)), 0, POINTS - 1).astype(jnp.int32)
    placed = [paths[0]]
    for s in range(1, len(paths)):
        placed.append(paths[s] + (placed[-1][joints[s]] + strokes.start[:, s])[None, :])
    return jnp.where(strokes.present[:, None, None] > 0, jnp.stack(placed), 0.0)


def frame(points: jax.Array, noise: jax.Array) -> jax.Array:
    """Fit points ``[..., 2]`` to the image, then lean, stretch, turn and move them by ``noise [7]``."""
    flat = points.reshape(-1, 2)
    low, high = flat.min(0), flat.max(0)
    centred = (flat - (low + high)[None, :] / 2) / jnp.maximum(jnp.max(high - low), 1e-3)
    affine = jnp.eye(2, dtype=jnp.float32) + 0.12 * noise[:4].reshape(2, 2)
    size = BOX * jnp.exp(0.1 * noise[4])
    return (0.5 + size * centred @ affine + 0.06 * noise[None, 5:]).reshape(points.shape)


def ink(points: jax.Array, present: jax.Array, width: jax.Array, size: int) -> jax.Array:
    r"""Render strokes as separable Gaussian splats, one small matrix product per image.

    $$\text{ink}_{ij} = 1 - \exp\Big(-\sum_p g_p\, e^{-(i - r_p)^2 / 2 s^2}\, e^{-(j - c_p)^2 / 2 s^2}\Big),$$

    where $g_p$ is proportional to the distance between points over the pen's width $s$, so that slow and fast
    strokes are equally dark.

    Args:
      points: ``[S, P, 2]``, rows and columns in units of the image.
      present: ``[S]``, 0 for absent strokes.
      width: the standard deviation $s$ of the pen, in units of the image.
      size: pixels per side.

    Returns:
      The image, float32 ``[size, size]`` in [0, 1].
    """
    spacing = jnp.sqrt(jnp.sum(jnp.diff(points, axis=1) ** 2, -1)).mean(1)
    gain = DARKNESS * present * spacing / (width * math.sqrt(2 * math.pi))
    gain = jnp.broadcast_to(gain[:, None], points.shape[:2]).reshape(-1)
    pixels = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    splat = lambda at: jnp.exp(-0.5 * ((pixels[:, None] - at.reshape(-1)[None, :]) / width) ** 2)
    rows, columns = splat(points[..., 0]), splat(points[..., 1])
    return 1 - jnp.exp(-(gain[None, :] * rows) @ columns.T)


@partial(jax.jit, static_argnames="size")
def draw(key: Key, strokes: Strokes, jitter: jax.Array, size: int) -> jax.Array:
    """Render one drawing of a character, float32 ``[size, size]``; ``jitter`` scales all noise."""
    n = len(strokes.length)
    noise = jitter * jax.random.normal(key, [10 * n + 8], jnp.float32)  # one call compiles in half the time
    points = frame(trace(shake(strokes, noise[8:].reshape(10, n))), noise[:7])
    return ink(points, strokes.present, PEN * jnp.exp(0.15 * noise[7]), size)
