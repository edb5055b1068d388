"""Losses, each with its convention of normalisation and therefore of time."""

from .base import AbstractLoss as AbstractLoss
from .classes import CrossEntropy as CrossEntropy
from .classes import cross_entropy as cross_entropy
from .correlation import Correlation as Correlation
from .correlation import correlation as correlation
from .lookup import loss as loss
from .margins import Exponential as Exponential
from .margins import Hinge as Hinge
from .margins import Logistic as Logistic
from .margins import SquaredHinge as SquaredHinge
from .margins import exponential as exponential
from .margins import hinge as hinge
from .margins import logistic as logistic
from .margins import squared_hinge as squared_hinge
from .squares import MeanSquare as MeanSquare
from .squares import Square as Square
from .squares import mean_square as mean_square
from .squares import square as square
