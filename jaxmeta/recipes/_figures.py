"""What papers report for 5 ways on published splits, to stand beside what was reached."""

from typing import NamedTuple


class Figure(NamedTuple):
    """Accuracy in per cent after 1 shot and after 5, and where it was printed."""

    one: str
    five: str
    source: str


_CHEN = "Chen et al. 2019"
_METAOPTNET = "MetaOptNet paper, augmented"
FIGURES = {
    "miniimagenet conv4 protonet": Figure("49.42 ± 0.78", "68.20 ± 0.66", "ProtoNet paper, trained on 30 and 20 ways"),
    "miniimagenet conv4 maml": Figure("48.70 ± 1.84", "63.11 ± 0.92", "MAML paper, 32 filters, transductive"),
    "miniimagenet conv4 fomaml": Figure("48.07 ± 1.75", "63.15 ± 0.91", "MAML paper, 32 filters, transductive"),
    "miniimagenet conv4 anil": Figure("46.7 ± 0.4", "61.5 ± 0.5", "ANIL paper, 32 filters"),
    "miniimagenet conv4 relation": Figure("50.44 ± 0.82", "65.32 ± 0.70", "RelationNet, as others quote it"),
    "miniimagenet conv4 r2d2": Figure("49.5", "65.4", "R2-D2 with 64 filters, as others quote it"),
    "miniimagenet conv4 metaoptnet": Figure("52.87 ± 0.57", "68.76 ± 0.48", _METAOPTNET),
    "miniimagenet conv4 simpleshot": Figure("49.69 ± 0.19", "66.92 ± 0.17", "SimpleShot with CL2N, as others quote it"),
    "miniimagenet conv4 baseline": Figure("42.11", "62.53", _CHEN),
    "miniimagenet conv4 baseline_plus_plus": Figure("48.24", "66.43", _CHEN),
    "miniimagenet conv4 rfs": Figure("55.25 ± 0.58", "71.56 ± 0.52", "RFS without distillation, as others quote it"),
    "miniimagenet resnet12 protonet": Figure("59.25 ± 0.64", "75.60 ± 0.48", _METAOPTNET),
    "miniimagenet resnet12 r2d2": Figure("61.41 ± 0.61", "77.88 ± 0.46", _METAOPTNET + ", ridge regression"),
    "miniimagenet resnet12 metaoptnet": Figure("62.64 ± 0.61", "78.63 ± 0.46", _METAOPTNET),
    "miniimagenet resnet12 rfs": Figure("62.02 ± 0.63", "79.64 ± 0.44", "RFS without distillation, as others quote it"),
    "tieredimagenet resnet12 metaoptnet": Figure("65.99 ± 0.72", "81.56 ± 0.53", _METAOPTNET),
    "tieredimagenet resnet12 rfs": Figure(
        "69.74 ± 0.72", "84.41 ± 0.55", "RFS without distillation, as others quote it"
    ),
    "cifar_fs conv4 protonet": Figure("55.5 ± 0.7", "72.0 ± 0.6", "as the MetaOptNet paper quotes it"),
    "cifar_fs conv4 maml": Figure("58.9 ± 1.9", "71.5 ± 1.0", "as the MetaOptNet paper quotes it"),
    "cifar_fs conv4 relation": Figure("55.0 ± 1.0", "69.3 ± 0.8", "as the MetaOptNet paper quotes it"),
    "cifar_fs conv4 r2d2": Figure(
        "65.3 ± 0.2", "79.4 ± 0.1", "R2-D2's wider network, as the MetaOptNet paper quotes it"
    ),
    "cifar_fs resnet12 protonet": Figure("72.2 ± 0.7", "83.5 ± 0.5", _METAOPTNET),
    "cifar_fs resnet12 r2d2": Figure("72.6 ± 0.7", "84.3 ± 0.5", _METAOPTNET + ", ridge regression"),
    "cifar_fs resnet12 metaoptnet": Figure("72.0 ± 0.7", "84.2 ± 0.5", _METAOPTNET),
    "cifar_fs resnet12 rfs": Figure("71.5 ± 0.8", "86.0 ± 0.5", "RFS without distillation, as others quote it"),
    "fc100 resnet12 protonet": Figure("37.5", "52.5", _METAOPTNET),
    "fc100 resnet12 r2d2": Figure("40.5 ± 0.6", "55.3 ± 0.6", _METAOPTNET + ", ridge regression"),
    "fc100 resnet12 metaoptnet": Figure("41.1 ± 0.6", "55.5 ± 0.6", _METAOPTNET),
    "fc100 resnet12 rfs": Figure("42.6 ± 0.7", "59.1 ± 0.6", "RFS without distillation, as others quote it"),
    "cub conv4 protonet": Figure("51.31", "70.77", _CHEN),
    "cub conv4 maml": Figure("55.92", "72.09", _CHEN),
    "cub conv4 relation": Figure("62.45", "unknown", _CHEN),
    "cub conv4 baseline": Figure("47.12", "64.16", _CHEN),
    "cub conv4 baseline_plus_plus": Figure("60.53", "79.34", _CHEN),
}


def published(dataset: str, backbone: str, algorithm: str, *, num_ways: int, num_shots: int) -> str:
    """The figure for this experiment, in words.

    Example:
      >>> published("cub", "conv4", "protonet", num_ways=5, num_shots=5)
      '70.77 % (Chen et al. 2019)'
      >>> published("cub", "conv4", "protonet", num_ways=5, num_shots=2)
      'none known for 5-way 2-shot'
    """
    if dataset in ("folder", "grocery"):
        return "none; these photographs and this split have no published figure"
    figure = FIGURES.get(f"{dataset} {backbone} {algorithm}")
    if figure is None:
        return f"none known for {algorithm} with {backbone} on {dataset}"
    found = {(5, 1): figure.one, (5, 5): figure.five}.get((num_ways, num_shots), "unknown")
    return f"none known for {num_ways}-way {num_shots}-shot" if found == "unknown" else f"{found} % ({figure.source})"
