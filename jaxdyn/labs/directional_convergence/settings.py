"""What a user may change about the lab."""

import dataclasses

import numpy as np

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of directional-convergence; times are in units of the loss, half the sum of squares.

    A network homogeneous of order L starts at delta w0, |w0| = 1, and is followed until its norm is the square root of delta.
    Two-layer networks have inputs in the plane, so that their neurons move on a circle and everything about one of them is known exactly.
    """

    seeds: int = setting(64, "starts of every network and size")
    powers: tuple[int, ...] = setting((1, 2, 3), "powers p of the activation relu^p")
    depths: tuple[int, ...] = setting((2, 3, 4), "numbers of layers, 2 among them")
    slope: float = setting(0.0, "slope of the activation below zero, before its power")
    sizes: tuple[float, ...] = setting((1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-30, 1e-100), "norms delta of the start, falling")
    deep_sizes: tuple[float, ...] = setting((1e-4, 1e-12, 1e-100), "those of networks with more than two layers")
    width: int = setting(12, "neurons of two-layer networks")
    deep_width: int = setting(4, "neurons a layer of deeper networks")
    samples: int = setting(6, "samples")
    dim: int = setting(3, "inputs of deeper networks")
    data_seed: int = setting(3, "of the samples")
    few: tuple[int, ...] = setting((1, 2), "numbers of neurons in the count of collapses")
    collapse_seeds: int = setting(512, "starts in that count")
    saddle_sizes: tuple[float, ...] = setting((1e-2, 1e-4, 1e-8, 1e-12, 1e-30, 1e-100), "norms of the small block beside a saddle, falling")
    targets: tuple[float, ...] = setting((4.0, 2.0, 1.0), "targets of orthonormal inputs, falling, learned one after the other")
    story_sizes: tuple[float, ...] = setting((1e-2, 1e-4, 1e-6, 1e-8), "norms of the starts that are followed to the end, falling")
    rtol: float = setting(1e-6, "relative tolerance, of every weight by itself")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        for name, least in (("seeds", 2), ("collapse_seeds", 2), ("width", 2), ("deep_width", 1), ("samples", 2), ("dim", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value} must be an integer of at least {least}.")
        for name, least in (("powers", 1), ("depths", 2), ("few", 1)):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or any(not isinstance(k, int) or k < least for k in values):
                raise ValueError(f"{name}={values} must be integers of at least {least} in rising order, separated by commas.")
        if self.depths[0] != 2 or 2 not in self.powers:
            raise ValueError(
                "depths and powers must both contain 2: two-layer relu^2 networks carry the claims on Newton's method and rays."
            )
        for name in ("sizes", "deep_sizes", "saddle_sizes", "story_sizes"):
            values = getattr(self, name)
            if len(values) < 2 or any(a <= b for a, b in zip(values, values[1:], strict=False)) or not 1e-140 < values[-1] <= values[0] < 1:
                raise ValueError(f"{name}={values} must be two or more numbers between 1e-140 and 1 in falling order.")
        if len(self.targets) < 2 or list(self.targets) != sorted(set(self.targets), reverse=True) or self.targets[-1] <= 0:
            raise ValueError(f"targets={self.targets} must be two or more positive numbers in falling order.")
        if not 0 <= self.slope < 1:
            raise ValueError(f"slope={self.slope} must be at least 0 and below 1.")
        if not 0 < self.rtol < 1:
            raise ValueError(f"rtol={self.rtol} must be between 0 and 1.")

    @property
    def cells(self) -> dict[str, tuple[int, int]]:
        """Every network's name, its depth, and its power."""
        return {f"depth {depth}, p = {power}": (depth, power) for depth in self.depths for power in self.powers}

    def degrees(self, depth: int, power: int) -> np.ndarray:
        """The order of homogeneity in each layer, from the input on: p^(depth - l).

        Args:
            depth: number of layers.
            power: p.

        Returns:
            Integers, whose sum is L.
        """
        return power ** np.arange(depth - 1, -1, -1)

    def order(self, depth: int, power: int) -> int:
        """L of all weights together."""
        return int(self.degrees(depth, power).sum())

    def inside(self, depth: int, power: int) -> bool:
        """Whether the theorems speak of it: L = 2, or gradients that are locally Lipschitz, p >= 2."""
        return power >= 2 or self.order(depth, power) == 2
