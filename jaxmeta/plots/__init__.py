"""Pictures of training and of tasks. Each function returns a matplotlib `Figure`, and saves it if given a path.

Figures are made directly, without pyplot: no window, no global state, nothing to close. Names from anywhere are drawn
as they read: a dollar in them begins no mathematics.

Letters: T tasks, N examples, W ways, D dimensions of features, G points of a grid.
"""

from ._adaptation import adaptation_curve as adaptation_curve
from ._canvas import BLUE as BLUE
from ._canvas import GREY as GREY
from ._canvas import ORANGE as ORANGE
from ._canvas import RIGHT as RIGHT
from ._canvas import WRONG as WRONG
from ._class_images import class_images as class_images
from ._confusion import confusion as confusion
from ._embedding import embedding_map as embedding_map
from ._episodes import episodes as episodes
from ._fits import fits as fits
from ._learning import learning_curve as learning_curve
from ._learning import learning_curves as learning_curves
from ._reliability import reliability as reliability

__all__ = [
    "learning_curve", "learning_curves", "adaptation_curve",
    "episodes", "fits", "confusion", "reliability", "embedding_map", "class_images",
]  # fmt: skip
