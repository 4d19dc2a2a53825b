"""Losses and metrics: ``(outputs, targets, weight=None) -> scalar``.

A user's loss may also return one value per example; `batch_loss` then takes the weighted mean.

An example of weight 0 does not exist: whatever its outputs and targets hold, NaN and infinity included, it changes
neither a value nor a gradient. An example of weight above 0 whose outputs are NaN makes every loss and metric NaN.

Letters: N examples, L tokens, W ways.
"""

from ._batch import LossFn as LossFn
from ._batch import batch_loss as batch_loss
from ._losses import Gaussian as Gaussian
from ._losses import cross_entropy as cross_entropy
from ._losses import gaussian_nll as gaussian_nll
from ._losses import kl_divergence as kl_divergence
from ._losses import mse as mse
from ._losses import sigmoid_mse as sigmoid_mse
from ._metrics import accuracy as accuracy
from ._metrics import default_metrics as default_metrics
from ._metrics import expected_calibration_error as expected_calibration_error
from ._metrics import nll as nll
from ._ratings import mae as mae
from ._ratings import ndcg as ndcg
from ._ratings import precision as precision
from ._ratings import rmse as rmse
from ._weights import hide as hide
from ._weights import weighted_mean as weighted_mean

__all__ = [
    "cross_entropy", "mse", "sigmoid_mse", "Gaussian", "gaussian_nll", "kl_divergence",
    "accuracy", "nll", "expected_calibration_error", "default_metrics",
    "mae", "rmse", "ndcg", "precision",
    "weighted_mean", "hide", "batch_loss",
]  # fmt: skip
