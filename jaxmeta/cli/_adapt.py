"""``jaxmeta adapt``: from two folders of images to predictions, with what a run has learned."""

import csv
import io
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import tyro

from jaxmeta.datasets._folder import read_folder, read_named
from jaxmeta.datasets._inspect import shown
from jaxmeta.runs._json import plain
from jaxmeta.runs._measure import PIXELS
from jaxmeta.storage import absolute, write_bytes

from ._flags import Call, parse
from ._folder import Folder, own_recipe

if TYPE_CHECKING:
    from jaxmeta import FewShotClassifier

FORMULA = tuple("=+-@\t\r")  # with which a cell begins that a spreadsheet computes
SHOWN = 20  # predictions that are printed; the file has all


class Predictions(NamedTuple):
    """Predictions for files of images.

    Attributes:
      files: names within the folder.
      probabilities: ``[files, classes]``.
      classes: names of the columns.
      true: the class of each file, where all files lie in folders named by classes.
      nearest: the class of the nearest support image in pixels, for each file: the baseline.
    """

    files: list[str]
    probabilities: np.ndarray
    classes: list[str]
    true: list[str] | None
    nearest: list[str]

    @property
    def said(self) -> list[str]:
        """The most probable class of each file."""
        return [self.classes[best] for best in self.probabilities.argmax(1)]

    def accuracies(self) -> dict[str, float]:
        """Return the accuracy, those of both baselines beside it; empty where the true classes are unknown."""
        if self.true is None:
            return {}
        share = lambda said: float(np.mean([a == b for a, b in zip(said, self.true or (), strict=True)]))
        return {"accuracy": share(self.said), "chance": 1 / len(self.classes), PIXELS: share(self.nearest)}


def adapt(args: list[str]) -> Call:
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
    classes = tuple(map(str, classifier.classes_))
    files, images = read_named(predict, "--predict", **look)
    images = _ink(images, invert)
    found = Predictions(
        files, classifier.predict_proba(images), list(classes), _folders(files, classes), _nearest(classifier, images)
    )
    out = _write(found, out)
    if save is not None:
        classifier.save(save)
    if export is not None:
        classifier.export(export)
    print(_as_json(found)) if json else _print(found, out, save, export)
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
    """Size and colour of the images that the run was trained on."""
    shape = classifier.input_shape or ()
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"{str(run)!r} was not trained on images. In Python, `jaxmeta.FewShotClassifier` adapts it.")
    return {"size": shape[:2], "color": "rgb" if shape[-1] == 3 else "gray"}


def _ink(images: np.ndarray, invert: bool) -> np.ndarray:
    return 255 - images if invert else images


def _folders(files: list[str], classes: tuple[str, ...]) -> list[str] | None:
    """The folder of each file, if all of them are classes."""
    folders = [file.rpartition("/")[0] for file in files]
    return folders if set(folders) <= set(classes) else None


def _nearest(classifier: "FewShotClassifier", images: np.ndarray) -> list[str]:
    """Return the class of the support image that is nearest in pixels, for each image."""
    from sklearn.neighbors import KNeighborsClassifier

    flat = lambda x: (x / np.float32(255) if x.dtype == np.uint8 else x).reshape(len(x), -1)
    nearest = KNeighborsClassifier(1).fit(flat(classifier.X_), classifier.y_).predict(flat(images))
    return [str(classifier.classes_[label]) for label in nearest]


def _write(found: Predictions, out: Path | None) -> Path:
    path = out or next(p for n in range(1, 10**6) if not (p := Path(f"predictions-{n}.csv")).exists())
    text = _as_json(found) + "\n" if path.suffix == ".json" else _as_csv(found)
    write_bytes(path, text.encode(errors="backslashreplace"))  # names of files need not be text
    return path


def _as_json(found: Predictions) -> str:
    rows = [
        {"file": file, "predicted": said, "probabilities": dict(zip(found.classes, p, strict=True))}
        for file, said, p in zip(found.files, found.said, found.probabilities, strict=True)
    ]
    accuracies = found.accuracies() or {"accuracy": None}
    text = jsonlib.dumps(plain({"predictions": rows, **accuracies}), indent=2, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()  # names of files need not be text; as JSON escapes them


def _as_csv(found: Predictions) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "predicted", *(f"probability of {name}" for name in found.classes)])
    for file, said, p in zip(found.files, found.said, found.probabilities, strict=True):
        writer.writerow([_neutral(file), _neutral(said), *(f"{value:.6f}" for value in p)])
    return text.getvalue()


def _neutral(text: str) -> str:
    """Return a name as a cell that a spreadsheet does not take for a formula.

    Example:
      >>> _neutral("=HYPERLINK(1)"), _neutral("cat")
      ("'=HYPERLINK(1)", 'cat')
    """
    return f"'{text}" if text[:1] in FORMULA else text


def _print(found: Predictions, out: Path, save: Path | None, export: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from sklearn.metrics import classification_report

    table = Table("file", "predicted", "probability")
    for file, said, p in list(zip(found.files, found.said, found.probabilities, strict=True))[:SHOWN]:
        table.add_row(shown(file), shown(said), f"{100 * p.max():.1f} %")
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(table)
    more = len(found.files) - SHOWN
    console.print(f"{f'and {more} more, ' if more > 0 else ''}all with their probabilities in {out}", soft_wrap=True)
    if found.true is not None:
        true, said = ([shown(name) for name in names] for names in (found.true, found.said))
        report: Any = classification_report(true, said, zero_division=0.0)  # type: ignore[arg-type]
        console.print(report, soft_wrap=True)
        shares = [f"{name} {100 * share:.1f} %" for name, share in found.accuracies().items()]
        console.print(", ".join(shares), soft_wrap=True)
    if save is not None:
        console.print(f"classifier: jaxmeta.FewShotClassifier.load({str(save)!r})", soft_wrap=True)
    if export is not None:
        console.print(f"program: {export}, which jax.export.deserialize reads", soft_wrap=True)
