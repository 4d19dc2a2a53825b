"""Predictions for files of images: what they say, how good they are, and how they are written."""

import csv
import io
import json
from typing import NamedTuple

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from jaxmeta.runs._json import plain
from jaxmeta.runs._measure import PIXELS

from ._classifier import FewShotClassifier

FORMULA = tuple("=+-@\t\r")  # with which a cell begins that a spreadsheet computes


class Predictions(NamedTuple):
    """Predictions for files of images.

    Attributes:
      files: names within the folder.
      probabilities: ``[files, classes]``.
      classes: names of the columns.
      true: the class of each file, where all files are in folders named by classes; else None.
      nearest: the class of the nearest support image in pixels, for each file: the baseline.
    """

    files: list[str]
    probabilities: np.ndarray
    classes: list[str]
    true: list[str] | None
    nearest: list[str]

    @property
    def labels(self) -> list[str]:
        """The most probable class of each file."""
        return [self.classes[best] for best in self.probabilities.argmax(1)]

    def accuracies(self) -> dict[str, float]:
        """Return the accuracy, those of both baselines beside it; empty where the true classes are unknown."""
        if self.true is None:
            return {}
        share = lambda labels: float(np.mean([a == b for a, b in zip(labels, self.true or (), strict=True)]))
        return {"accuracy": share(self.labels), "chance": 1 / len(self.classes), PIXELS: share(self.nearest)}

    def as_json(self) -> str:
        """Return all predictions and probabilities as JSON; names of files that are no text are escaped."""
        rows = [
            {"file": file, "predicted": label, "probabilities": dict(zip(self.classes, p, strict=True))}
            for file, label, p in zip(self.files, self.labels, self.probabilities, strict=True)
        ]
        accuracies = self.accuracies() or {"accuracy": None}
        text = json.dumps(plain({"predictions": rows, **accuracies}), indent=2, ensure_ascii=False)
        return text.encode(errors="backslashreplace").decode()

    def as_csv(self) -> str:
        """Return all predictions and probabilities as CSV, with no cell that a spreadsheet would compute."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["file", "predicted", *(f"probability of {name}" for name in self.classes)])
        for file, label, p in zip(self.files, self.labels, self.probabilities, strict=True):
            writer.writerow([neutral(file), neutral(label), *(f"{value:.6f}" for value in p)])
        return text.getvalue()


def predict_files(classifier: FewShotClassifier, files: list[str], images: np.ndarray) -> Predictions:
    """Predict the classes of images, and compare with the nearest neighbour in pixels.

    Args:
      classifier: an estimator that has been fitted.
      files: the name of each image; its folder is taken for its class if all folders are classes.
      images: ``[files, height, width, channels]``.
    """
    classes = list(map(str, classifier.classes_))
    folders = [file.rpartition("/")[0] for file in files]
    true = folders if set(folders) <= set(classes) else None
    return Predictions(files, classifier.predict_proba(images), classes, true, _nearest(classifier, images))


def neutral(text: str) -> str:
    """Return a name as a cell that a spreadsheet does not take for a formula.

    Example:
      >>> neutral("=HYPERLINK(1)"), neutral("cat")
      ("'=HYPERLINK(1)", 'cat')
    """
    return f"'{text}" if text[:1] in FORMULA else text


def _nearest(classifier: FewShotClassifier, images: np.ndarray) -> list[str]:
    """Return the class of the support image that is nearest in pixels, for each image."""
    flat = lambda x: (x / np.float32(255) if x.dtype == np.uint8 else x).reshape(len(x), -1)
    nearest = KNeighborsClassifier(1).fit(flat(classifier.X_), classifier.y_).predict(flat(images))
    return [str(classifier.classes_[label]) for label in nearest]
