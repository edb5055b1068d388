"""Losses, each with its convention of normalisation and therefore of time."""

from .base import AbstractLoss as AbstractLoss
from .lookup import loss as loss
from .margins import Exponential as Exponential
from .margins import Hinge as Hinge
from .margins import Logistic as Logistic
from .margins import exponential as exponential
from .margins import hinge as hinge
from .margins import logistic as logistic
from .squares import MeanSquare as MeanSquare
from .squares import Square as Square
from .squares import mean_square as mean_square
from .squares import square as square
