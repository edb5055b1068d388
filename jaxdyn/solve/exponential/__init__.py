"""The kernel-exponential solver."""

from .collocation import EVALUATIONS as EVALUATIONS
from .linear import FEW_PARAMS as FEW_PARAMS
from .linear import KRYLOV_MODES as KRYLOV_MODES
from .linear import MANY_OUTPUTS as MANY_OUTPUTS
from .linear import NEEDS as NEEDS
from .linear import STIFF_MODES as STIFF_MODES
from .linear import LinearPart as LinearPart
from .linear import linear_part as linear_part
from .linear import offers_kernel as offers_kernel
from .linear import offers_stiffness as offers_stiffness
from .linear import stiff_part as stiff_part
from .solver import KernelExponential as KernelExponential
from .solver import KernelTerm as KernelTerm
