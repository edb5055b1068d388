"""Data sets, as `Samples` of inputs and targets."""

from .angles import cone as cone
from .angles import nearly_orthogonal as nearly_orthogonal
from .angles import orthonormal as orthonormal
from .base import Samples as Samples
from .base import points as points
from .base import train_test as train_test
from .gaussian import clusters as clusters
from .gaussian import gaussian_teacher as gaussian_teacher
from .images import digits as digits
from .images import mnist as mnist
from .labels import check_labels as check_labels
from .labels import check_signs as check_signs
from .labels import flip_labels as flip_labels
from .labels import smallest_cosine as smallest_cosine
from .labels import with_outliers as with_outliers
from .univariate import sinusoid as sinusoid
from .univariate import square_wave as square_wave
