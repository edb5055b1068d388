"""Observables: pure functions of a flow and its parameters, to be recorded along a lane."""

from .balance import balancedness as balancedness
from .balance import conserved as conserved
from .balance import conserved_drift as conserved_drift
from .curvature import SecondDerivativeResidual as SecondDerivativeResidual
from .curvature import second_derivative_residual as second_derivative_residual
from .functions import FunctionOn as FunctionOn
from .functions import HeldOutLoss as HeldOutLoss
from .functions import function_on as function_on
from .functions import gradient_norm as gradient_norm
from .functions import held_out_loss as held_out_loss
from .functions import loss as loss
from .functions import outputs as outputs
from .kernel import ntk as ntk
from .kernel import ntk_change as ntk_change
from .parameters import parameter_distance as parameter_distance
from .parameters import parameter_norm as parameter_norm
from .rank import stable_rank as stable_rank
from .spline_distance import SplineDistance as SplineDistance
from .spline_distance import cubic_spline_distance as cubic_spline_distance
from .spline_distance import linear_spline_distance as linear_spline_distance
from .splines import clamped_cubic_spline as clamped_cubic_spline
from .splines import natural_cubic_spline as natural_cubic_spline
from .univariate import knot_movement as knot_movement
from .univariate import knots as knots
from .univariate import weight_near_samples as weight_near_samples
