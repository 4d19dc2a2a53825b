"""``jaxmeta adapt``: from two folders of images to predictions, with what a run has learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from jaxmeta.datasets._folder import read_folder, read_named
from jaxmeta.datasets._inspect import shown
from jaxmeta.storage import absolute, write_bytes

from ._flags import Call, parse
from ._folder import Folder, own_recipe
from ._results import console

if TYPE_CHECKING:
    from jaxmeta import FewShotClassifier
    from jaxmeta.estimator._predictions import Predictions

SHOWN = 20  # predictions that are printed; the file has all


def command(args: list[str]) -> Call:
    """Read the flags."""
    return parse(_adapt, "jaxmeta adapt", args)


def _adapt(
    run: Annotated[Folder, tyro.conf.Positional],
    *,
    predict: Path,
    support: Path | None = None,
    out: Folder | None = None,
    invert: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    num_inner_steps: int | None = None,
    batch_size: int = 64,
    data_dir: str | None = None,
    recipe: str | None = None,
    save: Folder | None = None,
    export: Folder | None = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Adapt a run's learner to labelled images, and predict the classes of others.

    Images are resized, and made grey where the run was trained on grey ones. A prediction does not depend on the other
    files: BatchNorm uses the statistics of the support set.

    Args:
      run: a run folder that `jaxmeta train` made, or one that was saved here.
      predict: a folder or zip of images; if these too lie in folders named by their classes, accuracy,
        chance and the nearest neighbour on pixels are shown.
      support: a folder or zip with a folder of images for each class: class/*.jpg. A few of each are enough. What was
        saved here needs none: it has learned already.
      out: file of all predictions and probabilities, .csv or .json; by default the next free predictions-<n>.csv.
      invert: exchange black and white, for dark drawings on white paper: characters are trained on as white on black.
      num_inner_steps: steps of adaptation; those of the recipe by default.
      batch_size: images predicted at a time.
      data_dir: the training data's folder, for runs that do not say what their tasks look like; others need none.
      recipe: your own recipe, my_file.py:my_function, if the run was trained by one; its code is run.
      save: a new folder for the adapted classifier, for `jaxmeta.FewShotClassifier.load`.
      export: a file for the adapted classifier as a program that needs only jax and flatbuffers.
      json: print JSON in place of the table.
    """
    from jaxmeta import FewShotClassifier
    from jaxmeta.estimator._predictions import predict_files

    _check_new({"--out": out, "--save": save, "--export": export})
    classifier = FewShotClassifier.load(
        run, data_dir=data_dir, recipe=own_recipe(recipe), num_steps=num_inner_steps, batch_size=batch_size
    )
    look = _look(classifier, run)
    if support is not None:
        known = read_folder(support, "--support", **look)
        classifier.fit(_ink(known.x, invert), np.repeat(known.names, known.count))
    elif not hasattr(classifier, "classes_"):
        raise ValueError(f"`--support`: {str(run)!r} has not learned any classes yet. Pass a folder of class/*.jpg.")
    files, images = read_named(predict, "--predict", **look)
    found = predict_files(classifier, files, _ink(images, invert))
    out = _write(found, out)
    if save is not None:
        classifier.save(save)
    if export is not None:
        classifier.export(export)
    print(found.as_json()) if json else _print(found, out, save, export)
    return 0


def _check_new(asked: dict[str, Path | None]) -> None:
    taken: dict[Path, str] = {}
    for flag, path in asked.items():
        if path is None:
            continue
        if path.exists():
            raise ValueError(f"`{flag}`: {str(path)!r} exists, and nothing is overwritten. Choose another name.")
        if first := taken.get(absolute(path)):
            raise ValueError(f"`{flag}`: {str(path)!r} is the same as `{first}`. Choose another name.")
        taken[absolute(path)] = flag


def _look(classifier: "FewShotClassifier", run: Path) -> dict[str, Any]:
    """Return size and colour of the images that the run was trained on."""
    shape = classifier.input_shape or ()
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            f"{str(run)!r} was not trained on images, and this command reads images. In Python, "
            "`trained = jaxmeta.runs.load(run)` and `trained.learner.adapt(trained.meta, support)` adapt it."
        )
    return {"size": shape[:2], "color": "rgb" if shape[-1] == 3 else "gray"}


def _ink(images: np.ndarray, invert: bool) -> np.ndarray:
    return 255 - images if invert else images


def _write(found: "Predictions", out: Path | None) -> Path:
    path = out or next(p for n in range(1, 10**6) if not (p := Path(f"predictions-{n}.csv")).exists())
    text = found.as_json() + "\n" if path.suffix == ".json" else found.as_csv()
    write_bytes(path, text.encode(errors="backslashreplace"))  # names of files need not be text
    return path


def _print(found: "Predictions", out: Path, save: Path | None, export: Path | None) -> None:
    from rich.table import Table
    from sklearn.metrics import classification_report

    table = Table("file", "predicted", "probability")
    for file, said, p in list(zip(found.files, found.labels, found.probabilities, strict=True))[:SHOWN]:
        table.add_row(shown(file), shown(said), f"{100 * p.max():.1f} %")
    say = console()
    say.print(table)
    more = len(found.files) - SHOWN
    say.print(f"{f'and {more} more, ' if more > 0 else ''}all with their probabilities in {out}", soft_wrap=True)
    if found.true is not None:
        true, said = ([shown(name) for name in names] for names in (found.true, found.labels))
        report: Any = classification_report(true, said, zero_division=0.0)  # type: ignore[arg-type]
        say.print(report, soft_wrap=True)
        shares = [f"{name} {100 * share:.1f} %" for name, share in found.accuracies().items()]
        say.print(", ".join(shares), soft_wrap=True)
    if save is not None:
        say.print(f"classifier: jaxmeta.FewShotClassifier.load({str(save)!r})", soft_wrap=True)
    if export is not None:
        say.print(f"program: {export}, which jax.export.deserialize reads", soft_wrap=True)
