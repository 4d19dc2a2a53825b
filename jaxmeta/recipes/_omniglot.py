"""Settings of all recipes on Omniglot: drawings, split and layout of a task; and the experiment of a learner."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split
from ..settings import Episodes, Outer
from ..tasks._episodes import Rotate
from ..types import MetaLearner, Sampler
from ._tables import published


@dataclass(frozen=True)
class Omniglot(Episodes):
    """The drawings, the characters that are held out, and the layout of a task."""

    data_dir: str | None = None
    """folder with images_background.zip and images_evaluation.zip; by default the cache folder"""
    download: bool = False
    """fetch the zips (16 MB) if they are not there"""
    resize: Literal["nearest", "antialias"] = "nearest"
    """nearest keeps the drawings black and white, as most published code did (Pillow ignores the filter for 1-bit
    images); antialias is smoother"""
    train_split: Literal["trainval", "train"] = "trainval"
    """trainval: the published 1,200 training characters; train: 1,028 of them, and the other 172 for a validation
    every 1,000 steps"""

    def experiment(
        self,
        outer: Outer,
        *,
        learner: MetaLearner,
        optimizer: optax.GradientTransformation,
        rotate: Rotate,
        row: str,
        train: Mapping[str, Any] = MappingProxyType({}),
        test_rotate: Rotate | Literal["same"] = "same",
        make_learner: Callable[..., MetaLearner] | None = None,
        test_steps: tuple[int, ...] = (),
        log_every: int = 50,
    ) -> Experiment:
        """Return the experiment of a learner on these tasks.

        Args:
          outer: how long it trains and how it is measured.
          learner, optimizer, make_learner, test_steps, log_every: as in `Experiment`.
          rotate: ``"extra"`` makes turned characters further classes, ``"draw"`` turns each class of a task.
          row: name of the rows of the paper's table, without ways and shots.
          train: what differs in the layout of training tasks.
          test_rotate: ``rotate`` for held-out characters, where it differs.
        """
        turned = rotate if test_rotate == "same" else test_rotate
        validates = self.train_split == "train"

        def sampler(split: str, layout: dict[str, Any], rotate: Rotate) -> Sampler:
            data = jm.datasets.omniglot(split, data_dir=self.data_dir, resize=self.resize, download=self.download)
            return jm.tasks.episodes(data, **layout, rotate=rotate)

        return Experiment(
            learner=learner,
            optimizer=optimizer,
            tasks=by_split(
                train=lambda: sampler(self.train_split, self.layout(**train), rotate),
                val=(lambda: sampler("val", self.layout(held_out=True), turned)) if validates else None,
                test=lambda: sampler("test", self.layout(held_out=True), turned),
            ),
            num_steps=outer.num_steps,
            tasks_per_step=outer.tasks_per_step,
            published=published(f"{row}_{self.size}"),
            make_learner=make_learner,
            test_steps=test_steps,
            log_every=log_every,
            eval_every=1_000 if validates else None,
            test_tasks=outer.test_tasks,
        )
