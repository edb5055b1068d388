"""One lab a paper: the sweep, the figure and the claims."""

from . import directional_convergence as directional_convergence
from . import early_alignment as early_alignment
from . import identity_link as identity_link
from . import kernel_vs_adaptive as kernel_vs_adaptive
from . import lazy_to_rich as lazy_to_rich
from . import low_rank_leaky as low_rank_leaky
from . import max_margin as max_margin
from . import spurious_minima as spurious_minima
from . import teacher_student as teacher_student
from .base import Claim as Claim
from .base import Lab as Lab
from .base import LabResult as LabResult
from .base import read_claims as read_claims
from .base import read_lab_file as read_lab_file

LABS: dict[str, Lab] = {
    lab.name: lab
    for lab in (
        directional_convergence.LAB,
        early_alignment.LAB,
        identity_link.LAB,
        kernel_vs_adaptive.LAB,
        lazy_to_rich.LAB,
        low_rank_leaky.LAB,
        max_margin.LAB,
        spurious_minima.LAB,
        teacher_student.LAB,
    )
}
"""The labs by the name that the command line takes."""
