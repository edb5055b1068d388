"""What a user may change about the lab."""

import dataclasses

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of low-rank-leaky; inputs have norm 1, labels alternate, times are in units of the loss summed over samples."""

    seeds: int = setting(64, "starts on each data set")
    slopes: tuple[float, ...] = setting((0.1, 0.3, 0.5), "slopes of the leaky ReLU below zero; ReLU runs besides")
    samples: int = setting(8, "samples of each data set")
    width: int = setting(24, "neurons, half of them of output weight +1/sqrt(m), half of -1/sqrt(m)")
    dims: tuple[int, ...] = setting((400_000, 100), "inputs of random data, from nearly to less orthogonal; small slopes take the first")
    hard: int = setting(16, "inputs of hardly orthogonal data, for the largest slope only")
    start: float = setting(1e-6, "norm of the flow's start, and standard deviation of the long descents'")
    decades: float = setting(300.0, "the flow's end time's logarithm to base 10")
    rate: float = setting(0.5, "learning rate of the gradient descents")
    steps: int = setting(20_000, "steps of the long descents")
    scales: tuple[float, ...] = setting((1e-4, 1e-2, 0.1, 1.0), "standard deviations of the starts whose first step is looked at")
    sizes: tuple[tuple[int, int], ...] = setting(((32, 100), (64, 200), (128, 400)), "(neurons, inputs) of these starts")
    first: int = setting(100, "steps for which the smallest of them go on")
    rtol: float = setting(1e-6, "relative tolerance of the flow")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        if not isinstance(self.seeds, int) or self.seeds < 2:
            raise ValueError(f"seeds={self.seeds} must be an integer of at least 2.")
        if not self.slopes or any(not 0 < slope < 1 for slope in self.slopes) or list(self.slopes) != sorted(set(self.slopes)):
            raise ValueError(f"slopes={self.slopes} must rise and lie between 0 and 1; ReLU, slope 0, runs anyhow.")
        if self.samples < 4 or self.samples % 2:
            raise ValueError(f"samples={self.samples} must be even and at least 4: the closed forms are those of balanced classes.")
        if any(width < 4 or width % 2 for width in (self.width, *(width for width, _ in self.sizes))):
            raise ValueError("widths must be even and at least 4: half of the neurons count positively.")
        if not self.dims or min(self.dims) < self.samples or list(self.dims) != sorted(set(self.dims), reverse=True):
            raise ValueError(f"dims={self.dims} must fall and be at least samples={self.samples}, so that the inputs are independent.")
        if not self.samples <= self.hard < min(self.dims):
            raise ValueError(f"hard={self.hard} must be below all of dims={self.dims}, and at least samples={self.samples}.")
        if len(self.sizes) < 2 or any(dim < self.samples for _, dim in self.sizes) or self._products() != sorted(set(self._products())):
            raise ValueError(
                f"sizes={self.sizes} must be two or more pairs (neurons, inputs) that grow, with at least as many inputs as samples."
            )
        if len(self.scales) < 2 or list(self.scales) != sorted(set(self.scales)) or min(self.scales) <= 0:
            raise ValueError(f"scales={self.scales} must be two or more positive numbers that rise.")
        if not (0 < self.start < 1e-2 and self.rtol > 0):
            raise ValueError("start must lie between 0 and 0.01, a small start, and rtol be positive.")
        if not self.decades >= 10:
            raise ValueError(f"decades={self.decades:g} must be at least 10: margins become equal like 1 / log t.")
        if not (0 < self.rate <= 1 and self.steps >= 100 and self.first >= 4):
            raise ValueError("rate must lie in (0, 1], where the descent is stable, steps be at least 100 and first at least 4.")

    def _products(self) -> list[int]:
        return [width * dim for width, dim in self.sizes]
