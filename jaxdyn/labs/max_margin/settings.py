"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of max-margin; times are in units of the loss sum_i exp(-y_i f_i).

    Cones are data whose x_i y_i lie pairwise at a cosine of mu or more; `any` are normal inputs with labels drawn by coins, on which
    nothing is known of the limit but that it is a KKT point.
    """

    seeds: int = setting(64, "starts on each data set", least=2, quick=8, tiny=2)
    cosines: tuple[float, ...] = setting(
        (0.6, 0.2, 0.05), "smallest cosines mu of the cones", above=0, below=1, entries=1, order="different", quick=(0.2,)
    )
    samples: int = setting(12, "samples of each data set", least=4, quick=8, tiny=4)
    dim: int = setting(5, "inputs", least=2, tiny=2)
    neurons: int = setting(16, "neurons of the two-layer networks", least=2, quick=8, tiny=4)
    deep: tuple[int, ...] = setting((6, 6), "hidden widths of the deep network", least=1, entries=2)
    start: float = setting(1e-3, "norm of the start", above=0)
    decades: float = setting(1000.0, "the end time's logarithm to base 10", least=15, quick=300.0, tiny=30.0)
    early: float = setting(30.0, "and that of the time with which the end is compared", least=5, tiny=10.0)
    rtol: float = setting(1e-6, "relative tolerance", above=0, below=1)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("any", "squared", "deep"),
        order="different",
        quick=("any", "squared", "deep"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("early", "decades") and self.early > self.decades / 3:
            yield f"early={self.early:g} must be at most a third of decades={self.decades:g}: margins move like 1 / log t."
