"""Reinforcement learning: tasks are environments, and adaptation, rollouts and the outer step are one program.

Read in this order: `Environment`, `Policy`, `rollout`, `maml_trpo`.
"""

from ._adaptation import Adaptation as Adaptation
from ._adaptation import Agent as Agent
from ._adaptation import Experience as Experience
from ._adaptation import adaptation as adaptation
from ._advantages import advantages as advantages
from ._advantages import discounted as discounted
from ._advantages import gae as gae
from ._cartpole import CartPole as CartPole
from ._cartpole import cartpole as cartpole
from ._e_maml import e_maml as e_maml
from ._e_maml import exploring as exploring
from ._environment import Bandit as Bandit
from ._environment import Box as Box
from ._environment import Discrete as Discrete
from ._environment import Environment as Environment
from ._environment import Environments as Environments
from ._environment import bandits as bandits
from ._environment import check_environment as check_environment
from ._environment import environments as environments
from ._estimators import dice as dice
from ._estimators import log_likelihood as log_likelihood
from ._estimators import low_variance as low_variance
from ._maml_trpo import maml_trpo as maml_trpo
from ._navigation import Navigation as Navigation
from ._navigation import navigation as navigation
from ._policies import Categorical as Categorical
from ._policies import Gaussian as Gaussian
from ._policies import Policy as Policy
from ._policies import categorical_policy as categorical_policy
from ._policies import gaussian_policy as gaussian_policy
from ._promp import promp as promp
from ._rl2 import ppo_optimizer as ppo_optimizer
from ._rl2 import rl2 as rl2
from ._rollout import Episodes as Episodes
from ._rollout import play as play
from ._rollout import rollout as rollout
from ._tabular import Tabular as Tabular
from ._tabular import tabular as tabular
from ._trust_region import trust_region as trust_region

__all__ = [
    "Environment", "environments", "check_environment", "Environments", "Box", "Discrete", "navigation",
    "Navigation", "bandits", "Bandit", "tabular", "Tabular", "cartpole", "CartPole", "Policy", "gaussian_policy",
    "categorical_policy", "Gaussian", "Categorical", "play", "rollout", "Episodes", "Agent", "maml_trpo", "e_maml",
    "promp", "rl2", "ppo_optimizer", "adaptation", "Adaptation", "Experience", "exploring", "trust_region", "dice",
    "low_variance", "log_likelihood", "advantages", "gae", "discounted",
]  # fmt: skip
