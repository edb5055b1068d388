"""One lab per paper: the sweeps, the figure and the claims."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from .base import Claim as Claim
from .base import Lab as Lab
from .base import LabResult as LabResult
from .base import read_claims as read_claims
from .base import read_lab_file as read_lab_file

if TYPE_CHECKING:  # for completion in editors; a lab that is not named here works as well
    from . import directional_convergence as directional_convergence
    from . import early_alignment as early_alignment
    from . import identity_link as identity_link
    from . import kernel_vs_adaptive as kernel_vs_adaptive
    from . import lazy_to_rich as lazy_to_rich
    from . import low_rank_leaky as low_rank_leaky
    from . import max_margin as max_margin
    from . import spurious_minima as spurious_minima
    from . import teacher_student as teacher_student

LABS: dict[str, Lab] = {
    lab.name: lab
    for lab in (
        importlib.import_module(f"{__name__}.{module.name}").LAB for module in sorted(pkgutil.iter_modules(__path__)) if module.ispkg
    )
}
"""The labs by the name that the command line takes: those of all packages in this one."""
