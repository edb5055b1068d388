"""Vector fields: gradient flows of empirical losses, linearised and reduced ones."""

from .base import AbstractFlow as AbstractFlow
from .gradient import GradientFlow as GradientFlow
from .linearised import LinearisedFlow as LinearisedFlow
from .reduced import ReducedFlow as ReducedFlow
from .reduced import reduce_univariate as reduce_univariate
