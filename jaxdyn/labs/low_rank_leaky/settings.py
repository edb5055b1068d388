"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of low-rank-leaky; inputs have norm 1, labels alternate, times are in units of the loss summed over samples."""

    seeds: int = setting(64, "starts on each data set", least=2, quick=8, tiny=2)
    slopes: tuple[float, ...] = setting(
        (0.1, 0.3, 0.5), "slopes of the leaky ReLU below zero; ReLU runs besides", above=0, below=1, entries=1, order="rising", quick=(0.3,)
    )
    samples: int = setting(8, "samples of each data set", least=4, even=True, tiny=4)
    width: int = setting(24, "neurons, half of them of output weight +1/sqrt(m), half of -1/sqrt(m)", least=4, even=True, tiny=4)
    dims: tuple[int, ...] = setting(
        (400_000, 100),
        "inputs of random data, from nearly to less orthogonal; small slopes take the first",
        least=4,
        entries=1,
        order="falling",
        quick=(1000, 100),
        tiny=(100,),
    )
    hard: int = setting(16, "inputs of hardly orthogonal data, for the largest slope only", least=4, tiny=8)
    start: float = setting(1e-6, "norm of the flow's start, and standard deviation of the long descents'", above=0, below=1e-2)
    decades: float = setting(300.0, "the flow's end time's logarithm to base 10", least=10, quick=100.0, tiny=20.0)
    rate: float = setting(0.5, "learning rate of the gradient descents", above=0, most=1)
    steps: int = setting(20_000, "steps of the long descents", least=100, quick=2000, tiny=100)
    scales: tuple[float, ...] = setting(
        (1e-4, 1e-2, 0.1, 1.0),
        "standard deviations of the starts whose first step is looked at",
        above=0,
        entries=2,
        order="rising",
        quick=(0.0001, 0.1, 1.0),
        tiny=(0.1, 1.0),
    )
    sizes: tuple[tuple[int, int], ...] = setting(
        ((32, 100), (64, 200), (128, 400)),
        "(neurons, inputs) of these starts",
        least=4,
        entries=2,
        quick=((32, 100), (64, 200)),
        tiny=((4, 10), (8, 20)),
    )
    first: int = setting(100, "steps for which the smallest of them go on", least=4, tiny=4)
    rtol: float = setting(1e-6, "relative tolerance of the flow", above=0, below=1)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("relu", "descent", "step"),
        order="different",
        quick=("relu",),
        tiny=("relu", "descent", "step"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("samples", "dims") and min(self.dims) < self.samples:
            yield f"dims={self.dims} must be at least samples={self.samples}, so that the inputs are independent."
        if fit("samples", "hard", "dims") and not self.samples <= self.hard < min(self.dims):
            yield f"hard={self.hard} must be at least samples={self.samples} and below all of dims={self.dims}."
        if fit("sizes") and any(width % 2 for width, _ in self.sizes):
            yield f"sizes={self.sizes} must have even numbers of neurons: half of them count positively."
        if fit("sizes", "samples") and any(dim < self.samples for _, dim in self.sizes):
            yield f"sizes={self.sizes} must have at least as many inputs as samples={self.samples}."
        if fit("sizes") and self._products() != sorted(set(self._products())):
            yield f"sizes={self.sizes} must be pairs (neurons, inputs) whose products rise."

    def _products(self) -> list[int]:
        return [width * dim for width, dim in self.sizes]
