"""The scikit-learn face of a trained learner: adapt to labelled examples with ``fit``, then ``predict`` or ``rank``.

Needs scikit-learn, and loads it on first use.
"""

from ._classifier import FewShotClassifier as FewShotClassifier
from ._recommender import Recommended as Recommended
from ._recommender import Recommender as Recommender
from ._regressor import FewShotRegressor as FewShotRegressor

__all__ = ["FewShotClassifier", "FewShotRegressor", "Recommender", "Recommended"]
