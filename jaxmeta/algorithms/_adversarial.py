"""Adversarial querying: meta-train on tasks whose inputs an attack has made hard.

Goldblum, Fowl and Goldstein, 2020, https://arxiv.org/abs/1910.00982; with attacks on both sets as in adversarial
meta-learning, Yin et al., 2018, https://arxiv.org/abs/1806.03316
"""

import jax

from ..attacks import Attack, On, check_on, perturb
from ..learner import split_key
from ..losses import LossFn, cross_entropy
from ..types import Aux, Key, MetaLearner, Task, Variables


def adversarial(
    learner: MetaLearner,
    loss_fn: LossFn = cross_entropy,
    *,
    attack: Attack,
    on: On = "query",
    clean_weight: float = 0.0,
) -> MetaLearner:
    r"""Meta-trains any differentiable learner against an attack; adaptation and prediction stay as they are.

    $\min_\theta \max_{\|\delta\| \le r} \ell(\theta; S, Q + \delta)$: the attack sees predictions after adaptation, its
    $\delta$ is a constant for the meta-gradient, and $\ell$ is the learner's own loss. The learner adapts to clean
    support sets (adversarial querying), unless ``on`` says otherwise.

    Args:
      learner: the learner to make robust; `meta` is the same, so it can go on from clean training or back to it.
      loss_fn: the loss that the attack raises, as for `maml`.
      attack: for instance ``jaxmeta.attacks.pgd(radius=8 / 255, bounds=(0, 1))``.
      on: the attacked set: ``"query"``, ``"support"`` (poisoning), or ``"both"``.
      clean_weight: share of the unperturbed task in the loss, 0 to 1.

    Returns:
      A `MetaLearner`; its metrics are those of the attacked task. Measure with `robust_accuracy`.

    Raises:
      ValueError: for an unknown ``on``, or a ``clean_weight`` outside [0, 1].

    Example:
      >>> import jaxmeta as jm
      >>> plain = jm.protonet(jm.from_linen(jm.backbones.Conv4(features=8)))
      >>> learner = adversarial(plain, attack=jm.attacks.pgd(radius=0.1, bounds=(0, 1)))
    """
    check_on(on)
    if not 0 <= clean_weight <= 1:
        raise ValueError(f"`clean_weight` is a share from 0 to 1, got {clean_weight}.")

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_attack, k_learn = split_key(key)
        hard = perturb(learner, meta, task, attack, loss_fn, key=k_attack, on=on)
        value, aux = learner.loss(meta, hard, k_learn)
        if clean_weight == 0:
            return value, aux
        clean, (state, _) = learner.loss(meta, task, k_learn)
        return (1 - clean_weight) * value + clean_weight * clean, Aux(state, {**aux.metrics, "clean_loss": clean})

    return learner._replace(loss=loss)
