"""Vector fields: gradient flows of empirical and population losses, linearised and reduced ones."""

from .base import AbstractFlow as AbstractFlow
from .clocks import Clock as Clock
from .clocks import Clocked as Clocked
from .clocks import DirectionClock as DirectionClock
from .clocks import Polar as Polar
from .clocks import arc_length as arc_length
from .clocks import loss_time as loss_time
from .closed_form import LinearisedSolution as LinearisedSolution
from .correlation import CorrelationFlow as CorrelationFlow
from .descent import StochasticDescent as StochasticDescent
from .gates import Gates as Gates
from .gradient import GradientFlow as GradientFlow
from .linearised import LinearisedFlow as LinearisedFlow
from .population import IdentityLinkFlow as IdentityLinkFlow
from .population import OrderParameterFlow as OrderParameterFlow
from .population import PolarTeacherFlow as PolarTeacherFlow
from .population import PopulationFlow as PopulationFlow
from .population import SymmetricTeacherFlow as SymmetricTeacherFlow
from .protocol import AbstractWrapper as AbstractWrapper
from .protocol import innermost as innermost
from .protocol import network_params as network_params
from .reduced import ReducedFlow as ReducedFlow
from .reduced import expand_reduced as expand_reduced
from .reduced import reduce_univariate as reduce_univariate
