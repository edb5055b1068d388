"""Settings of the lab early-alignment."""

import dataclasses
import math

from ..base import setting


def _rising(values: tuple, least: float = -math.inf, most: float = math.inf) -> bool:
    return bool(values) and list(values) == sorted(set(values)) and least < values[0] and values[-1] < most


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of early-alignment; times are those of the loss sum_i exp(-y_i f(x_i)).

    With 2 log(1 + exp(-y f)), which the paper takes as well, the slope at f = 0 is the same, and so are the times of the early phase.
    A start's norm is that of all weights.
    """

    seeds: int = setting(8, "starts of each data set")
    draws: int = setting(8, "data sets of each cell; lanes of a cell are starts times data sets")
    sizes: tuple[int, ...] = setting((8, 16, 64), "numbers n of samples; a compilation each")
    separations: tuple[float, ...] = setting((0.02, 0.1, 0.5), "smallest cosines mu of x_i y_i and x_j y_j")
    small: float = setting(1e-6, "norm of the starts but where it is varied")
    dim: int = setting(10, "numbers of inputs of the cones")
    neurons: int = setting(20, "hidden neurons")
    studied: int = setting(16, "n of the sweeps over norms, imbalances, flips and outliers, and of the plane; one of the sizes")
    separation: float = setting(0.1, "mu of these; one of the separations")
    norms: tuple[float, ...] = setting((1e-8, 1e-4, 1e-2, 0.3, 1.0, 3.0), "norms of the start: when do the two phases part?")
    imbalances: tuple[float, ...] = setting((-30.0, -3.0, 3.0, 30.0), "v^2 - |w|^2 of each neuron where |v w| is about 2.5")
    flips: tuple[float, ...] = setting((0.0625, 0.125, 0.25), "shares of labels that are flipped")
    outliers: tuple[float, ...] = setting((0.0625, 0.125, 0.25), "shares of inputs that are moved")
    outlier_size: float = setting(2.0, "how far they are moved, in norms of the inputs")
    digits: tuple[int, ...] = setting((0, 1, 2, 7, 4, 9, 3, 8, 5, 6, 1, 7, 0, 6, 8, 9), "pairs of digits, one after the other")
    images: int = setting(60, "images of each pair")
    mnist: str = setting("", "a folder with MNIST's IDX files, to run its digits too")
    log_loss: float = setting(-100.0, "log10 of the loss at which a run ends")
    rtol: float = setting(1e-6, "relative tolerance; in the plane it is a thousandth of it")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        for name, least in (("seeds", 2), ("draws", 2), ("dim", 2), ("neurons", 2), ("images", 2)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be an integer of at least {least}.")
        if not _rising(self.sizes, 1) or any(not isinstance(n, int) for n in self.sizes):
            raise ValueError(f"sizes={self.sizes} must be integers of at least 2 in rising order, separated by commas.")
        if not _rising(self.separations, 0, 1) or not _rising(self.norms, 0):
            raise ValueError("separations must lie between 0 and 1 and norms above 0, each in rising order and separated by commas.")
        for name in ("flips", "outliers"):
            if not _rising(getattr(self, name), 0, 1):
                raise ValueError(f"{name}={getattr(self, name)} must be shares between 0 and 1 in rising order, separated by commas.")
        if not _rising(self.imbalances):
            raise ValueError(f"imbalances={self.imbalances} must be numbers in rising order, separated by commas.")
        if self.studied not in self.sizes or self.separation not in self.separations:
            raise ValueError(f"studied must be one of the sizes {self.sizes}, separation one of the separations {self.separations}.")
        if not self.digits or len(self.digits) % 2 or any(a == b or not {a, b} <= set(range(10)) for a, b in self.pairs):
            raise ValueError(f"digits={self.digits} must be pairs of different digits, 0,1,2,7 being two of them.")
        for name in ("small", "outlier_size", "rtol"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive.")
        if not self.small <= 1e-2 or not self.log_loss <= -35:
            raise ValueError("small must not be above 0.01, nor log_loss above -35: late times begin at a loss of 1e-30.")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of digits, labelled -1 and +1."""
        return list(zip(self.digits[::2], self.digits[1::2], strict=False))
