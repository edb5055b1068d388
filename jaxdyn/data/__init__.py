"""Data sets, as `Samples` of inputs and targets."""

from .base import Samples as Samples
from .base import points as points
from .base import train_test as train_test
from .gaussian import clusters as clusters
from .gaussian import gaussian_teacher as gaussian_teacher
from .images import digits as digits
from .univariate import sinusoid as sinusoid
from .univariate import square_wave as square_wave
