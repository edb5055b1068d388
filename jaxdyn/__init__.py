"""Gradient-flow dynamics of neural networks: flows as pure functions, solved for thousands of seeds at once."""

from . import data as data
from . import flows as flows
from . import labs as labs
from . import losses as losses
from . import measure as measure
from . import models as models
from .ensemble import final_params as final_params
from .ensemble import outcome_counts as outcome_counts
from .ensemble import summarise as summarise
from .ensemble import sweep as sweep
from .solve import GradientNormBelow as GradientNormBelow
from .solve import ImplicitDerivative as ImplicitDerivative
from .solve import KernelExponential as KernelExponential
from .solve import LossBelow as LossBelow
from .solve import LyapunovExponents as LyapunovExponents
from .solve import Outcome as Outcome
from .solve import Polished as Polished
from .solve import Solution as Solution
from .solve import SteadyDirection as SteadyDirection
from .solve import StopWhen as StopWhen
from .solve import implicit_derivative as implicit_derivative
from .solve import load_solution as load_solution
from .solve import lyapunov_exponents as lyapunov_exponents
from .solve import polish as polish
from .solve import solve as solve
from .solve import tangents as tangents
