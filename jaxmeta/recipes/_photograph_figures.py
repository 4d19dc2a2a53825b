"""Figures that papers report for 5 ways on published splits of photographs."""

from collections.abc import Iterator

from ._figures import Figure

# Accuracies by source: data set, backbone, algorithm, 5-way 1-shot, 5-way 5-shot (empty where unknown).
_PRINTED: dict[Figure, tuple[str, ...]] = {
    Figure("", "ProtoNet paper, trained on 30 and 20 ways"): (
        "miniimagenet conv4 protonet: 49.42 ± 0.78; 68.20 ± 0.66",
    ),
    Figure("", "MAML paper, 32 filters, transductive"): (
        "miniimagenet conv4 maml: 48.70 ± 1.84; 63.11 ± 0.92",
        "miniimagenet conv4 fomaml: 48.07 ± 1.75; 63.15 ± 0.91",
    ),
    Figure("", "ANIL paper, 32 filters"): ("miniimagenet conv4 anil: 46.7 ± 0.4; 61.5 ± 0.5",),
    Figure("", "RelationNet", known="quoted"): ("miniimagenet conv4 relation: 50.44 ± 0.82; 65.32 ± 0.70",),
    Figure("", "R2-D2 with 64 filters", known="quoted"): ("miniimagenet conv4 r2d2: 49.5; 65.4",),
    Figure("", "MetaOptNet paper, augmented"): (
        "miniimagenet conv4 metaoptnet: 52.87 ± 0.57; 68.76 ± 0.48",
        "miniimagenet resnet12 protonet: 59.25 ± 0.64; 75.60 ± 0.48",
        "miniimagenet resnet12 metaoptnet: 62.64 ± 0.61; 78.63 ± 0.46",
        "tieredimagenet resnet12 metaoptnet: 65.99 ± 0.72; 81.56 ± 0.53",
        "cifar_fs resnet12 protonet: 72.2 ± 0.7; 83.5 ± 0.5",
        "cifar_fs resnet12 metaoptnet: 72.0 ± 0.7; 84.2 ± 0.5",
        "fc100 resnet12 protonet: 37.5; 52.5",
        "fc100 resnet12 metaoptnet: 41.1 ± 0.6; 55.5 ± 0.6",
    ),
    Figure("", "SimpleShot with CL2N", known="quoted"): ("miniimagenet conv4 simpleshot: 49.69 ± 0.19; 66.92 ± 0.17",),
    Figure("", "Chen et al. 2019"): (
        "miniimagenet conv4 baseline: 42.11; 62.53",
        "miniimagenet conv4 baseline_plus_plus: 48.24; 66.43",
        "cub conv4 protonet: 51.31; 70.77",
        "cub conv4 maml: 55.92; 72.09",
        "cub conv4 relation: 62.45; ",
        "cub conv4 baseline: 47.12; 64.16",
        "cub conv4 baseline_plus_plus: 60.53; 79.34",
    ),
    Figure("", "RFS without distillation", known="quoted"): (
        "miniimagenet conv4 rfs: 55.25 ± 0.58; 71.56 ± 0.52",
        "miniimagenet resnet12 rfs: 62.02 ± 0.63; 79.64 ± 0.44",
        "tieredimagenet resnet12 rfs: 69.74 ± 0.72; 84.41 ± 0.55",
        "cifar_fs resnet12 rfs: 71.5 ± 0.8; 86.0 ± 0.5",
        "fc100 resnet12 rfs: 42.6 ± 0.7; 59.1 ± 0.6",
    ),
    Figure("", "MetaOptNet paper, augmented, ridge regression"): (
        "miniimagenet resnet12 r2d2: 61.41 ± 0.61; 77.88 ± 0.46",
        "cifar_fs resnet12 r2d2: 72.6 ± 0.7; 84.3 ± 0.5",
        "fc100 resnet12 r2d2: 40.5 ± 0.6; 55.3 ± 0.6",
    ),
    Figure("", "MetaOptNet paper, of others", known="quoted"): (
        "cifar_fs conv4 protonet: 55.5 ± 0.7; 72.0 ± 0.6",
        "cifar_fs conv4 maml: 58.9 ± 1.9; 71.5 ± 1.0",
        "cifar_fs conv4 relation: 55.0 ± 1.0; 69.3 ± 0.8",
    ),
    Figure("", "R2-D2's wider network, in the MetaOptNet paper", known="quoted"): (
        "cifar_fs conv4 r2d2: 65.3 ± 0.2; 79.4 ± 0.1",
    ),
}


def _figures() -> Iterator[tuple[str, Figure]]:
    for figure, lines in _PRINTED.items():
        for name, values in (line.split(": ") for line in lines):
            for size, value in zip(("5w1s", "5w5s"), values.split(";"), strict=True):
                if value.strip():
                    yield f"{name} {size}", figure._replace(value=value.strip())


FIGURES = dict(_figures())


def published(dataset: str, backbone: str, algorithm: str, size: str) -> str:
    """Return the ``published`` text of an experiment on photographs.

    Example:
      >>> published("cub", "conv4", "protonet", "5w5s")
      '70.77 % (Chen et al. 2019)'
      >>> published("cub", "conv4", "protonet", "5w2s")
      'none; there is no figure for protonet with conv4 on cub, 5w2s'
    """
    if dataset in ("folder", "grocery"):
        return "none; these photographs and this split have no published figure"
    name = f"{dataset} {backbone} {algorithm} {size}"
    missing = f"none; there is no figure for {algorithm} with {backbone} on {dataset}, {size}"
    return str(FIGURES[name]) if name in FIGURES else missing
