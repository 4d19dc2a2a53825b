"""Tasks from several named domains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxmeta.types import Key, Sampler, Task

from ._mixture import Choice, Mixture, mixture


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Domains:
    """The sampler that `domains` returns: a `mixture` whose parts have names."""

    mixture: Mixture
    names: tuple[str, ...] = field(metadata={"static": True})

    @property
    def samplers(self) -> dict[str, Any]:
        """The samplers of the domains by name."""
        return dict(zip(self.names, self.mixture.samplers, strict=True))

    def without(self, name: str) -> "Domains":
        """Return the other domains, as likely beside one another as before: to train on, where ``name`` is held out.

        Raises:
          ValueError: if there is no such domain, or no other.
        """
        if name not in self.names or len(self.names) < 2:
            raise ValueError(f"`name` must be one of several domains {list(self.names)}, got {name!r}.")
        kept = [i for i, other in enumerate(self.names) if other != name]
        rest = Mixture(tuple(self.mixture.samplers[i] for i in kept), self.mixture.logits[jax.numpy.array(kept)])
        return Domains(rest, tuple(self.names[i] for i in kept))

    def draw(self, key: Key) -> Choice:
        """Draw the number of a domain, and the choices of every domain's sampler."""
        return self.mixture.draw(key)

    def fetch(self, indices: Choice) -> Task:
        """Fetch the task of the chosen domain."""
        return self.mixture.fetch(indices)

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.mixture(key)


def domains(samplers: Mapping[str, Sampler], weights: Mapping[str, float] | None = None) -> Domains:
    """Return a sampler that draws each task from one of several named domains, chosen at random.

    Args:
      samplers: samplers by name, whose tasks have the same shapes and dtypes.
      weights: positive numbers by name, proportional to the probability of each domain; equal by default.

    Raises:
      TypeError, ValueError: if there is no sampler, the tasks differ in shape, or the weights are not one finite
        positive number for each domain.

    Example:
      >>> from jaxmeta import tasks
      >>> both = domains({"waves": tasks.sinusoid(), "lines": tasks.lines()}, {"waves": 3, "lines": 1})
      >>> both(jax.random.key(0)).support.x.shape, both.without("waves").names
      ((10, 1), ('lines',))
    """
    names = tuple(samplers)
    if weights is not None and {*weights} != {*names}:
        raise ValueError(f"`weights` must name the domains {list(names)}, got {list(weights)}.")
    order = None if weights is None else [weights[name] for name in names]
    return Domains(mixture(*samplers.values(), weights=order), names)
