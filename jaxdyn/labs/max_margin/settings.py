"""What a user may change about the lab."""

import dataclasses

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of max-margin; times are in units of the loss sum_i exp(-y_i f_i).

    Cones are data whose x_i y_i lie pairwise at a cosine of mu or more; `any` are normal inputs with labels drawn by coins, on which
    nothing is known of the limit but that it is a KKT point.
    """

    seeds: int = setting(64, "starts on each data set")
    cosines: tuple[float, ...] = setting((0.6, 0.2, 0.05), "smallest cosines mu of the cones")
    samples: int = setting(12, "samples of each data set")
    dim: int = setting(5, "inputs")
    neurons: int = setting(16, "neurons of the two-layer networks")
    deep: tuple[int, ...] = setting((6, 6), "hidden widths of the deep network")
    start: float = setting(1e-3, "norm of the start")
    decades: float = setting(1000.0, "the end time's logarithm to base 10")
    early: float = setting(30.0, "and that of the time with which the end is compared")
    rtol: float = setting(1e-6, "relative tolerance")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        if not isinstance(self.seeds, int) or self.seeds < 2:
            raise ValueError(f"seeds={self.seeds} must be an integer of at least 2.")
        if not self.cosines or any(not 0 < mu < 1 for mu in self.cosines):
            raise ValueError(f"cosines={self.cosines} must lie between 0 and 1, where the limit is known.")
        if self.samples < 4 or self.dim < 2 or self.neurons < 2 or len(self.deep) < 2 or min(self.deep) < 1:
            raise ValueError("there must be at least 4 samples, 2 inputs, 2 neurons, and 2 hidden layers in the deep network.")
        if not (self.start > 0 and self.rtol > 0):
            raise ValueError("start and rtol must be positive.")
        if not 5 <= self.early <= self.decades / 3:
            raise ValueError(f"early={self.early:g} must be from 5 to a third of decades={self.decades:g}: margins move like 1 / log t.")
