"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..settings import LabSettings, setting

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of directional-convergence; times are in units of the loss, half the sum of squares.

    A network homogeneous of order L starts at delta w0, |w0| = 1, and is followed until its norm is the square root of delta.
    Two-layer networks have inputs in the plane, so that their neurons move on a circle and everything about one of them is known exactly.
    """

    seeds: int = setting(64, "starts of every network and size", least=2, quick=16, tiny=2)
    powers: tuple[int, ...] = setting((1, 2, 3), "powers p of the activation relu^p", least=1, entries=1, order="rising", quick=(2,))
    depths: tuple[int, ...] = setting((2, 3, 4), "numbers of layers, 2 among them", least=2, entries=1, order="rising", quick=(2,))
    slope: float = setting(0.0, "slope of the activation below zero, before its power", least=0, below=1)
    sizes: tuple[float, ...] = setting(
        (1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-30, 1e-100),
        "norms delta of the start, falling",
        above=1e-140,
        below=1,
        entries=2,
        order="falling",
        quick=(0.01, 0.0001, 1e-08, 1e-30),
        tiny=(0.01, 0.0001),
    )
    deep_sizes: tuple[float, ...] = setting(
        (1e-4, 1e-12, 1e-100), "those of networks with more than two layers", above=1e-140, below=1, entries=2, order="falling"
    )
    width: int = setting(12, "neurons of two-layer networks", least=2, tiny=3)
    deep_width: int = setting(4, "neurons a layer of deeper networks", least=1)
    samples: int = setting(6, "samples", least=2, tiny=3)
    dim: int = setting(3, "inputs of deeper networks", least=2)
    data_seed: int = setting(3, "of the samples", least=0, below=2**32)
    few: tuple[int, ...] = setting((1, 2), "numbers of neurons in the count of collapses", least=1, entries=1, order="rising")
    collapse_seeds: int = setting(512, "starts in that count", least=2)
    saddle_sizes: tuple[float, ...] = setting(
        (1e-2, 1e-4, 1e-8, 1e-12, 1e-30, 1e-100),
        "norms of the small block beside a saddle, falling",
        above=1e-140,
        below=1,
        entries=2,
        order="falling",
    )
    targets: tuple[float, ...] = setting(
        (4.0, 2.0, 1.0), "targets of orthonormal inputs, falling, learned one after the other", above=0, entries=2, order="falling"
    )
    story_sizes: tuple[float, ...] = setting(
        (1e-2, 1e-4, 1e-6, 1e-8),
        "norms of the starts that are followed to the end, falling",
        above=1e-140,
        below=1,
        entries=2,
        order="falling",
        tiny=(0.01, 0.0001),
    )
    rtol: float = setting(1e-6, "relative tolerance, of every weight by itself", above=0, below=1)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("few", "newton", "story", "saddle", "orthonormal"),
        order="different",
        quick=("few", "newton", "saddle"),
        tiny=("few", "newton", "saddle", "orthonormal"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        for name in ("depths", "powers"):
            if fit(name) and 2 not in getattr(self, name):
                yield f"{name}={getattr(self, name)} must contain 2: two-layer relu^2 networks carry claims on rays."

    @property
    def cells(self) -> dict[str, tuple[int, int]]:
        """Every network's name, its depth, and its power."""
        return {f"depth {depth}, p = {power}": (depth, power) for depth in self.depths for power in self.powers}

    def degrees(self, depth: int, power: int) -> "np.ndarray":
        """The order of homogeneity in each layer, from the input on: p^(depth - l).

        Args:
            depth: number of layers.
            power: p.

        Returns:
            Integers, whose sum is L.
        """
        import numpy as np

        return power ** np.arange(depth - 1, -1, -1)

    def order(self, depth: int, power: int) -> int:
        """L of all weights together."""
        return int(self.degrees(depth, power).sum())

    def inside(self, depth: int, power: int) -> bool:
        """Whether the theorems speak of it: L = 2, or gradients that are locally Lipschitz, p >= 2."""
        return power >= 2 or self.order(depth, power) == 2
