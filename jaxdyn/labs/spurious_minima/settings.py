"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of spurious-minima; times are in units of the loss J = 1/2 E[(f - f*)^2] over x ~ N(0, I).

    Student and teacher are sums of k ReLU neurons on k inputs, the teacher's vectors orthonormal; the student's start with entries of
    variance 1/k.
    """

    seeds: int = setting(1000, "runs of each size", least=2, quick=100, tiny=4)
    sizes: tuple[int, ...] = setting(
        tuple(range(6, 21)), "numbers k of neurons and inputs", least=3, entries=1, order="rising", quick=(7, 8), tiny=(6,)
    )
    extra: tuple[int, ...] = setting(
        (8, 10, 12, 14, 16),
        "sizes that are run again with one student neuron more, among the sizes",
        least=3,
        order="rising",
        quick=(8,),
        tiny=(),
    )
    spurious: float = setting(1e-3, "a run is spurious if J ends above this", above=0)
    still: float = setting(1e-3, "the flow is left for Newton's method once the gradient's norm is below this", above=0)
    rest: float = setting(1e-9, "a run is at rest once the gradient's norm is below this", above=0)
    end_time: float = setting(1e5, "end time of lanes that do not come to rest before", above=0)
    rtol: float = setting(1e-3, "relative tolerance of the flow", above=0, below=1)

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("extra", "sizes") and not set(self.extra) <= set(self.sizes):
            yield f"extra={self.extra} must be among the sizes={self.sizes}."
        if fit("rest", "still") and self.rest > self.still:
            yield f"rest={self.rest:g} must not be above still={self.still:g}: Newton's method starts where the flow has become still."

    @property
    def runs(self) -> dict[str, tuple[int, int]]:
        """Every run's name, its k, and its number of students."""
        return {f"k={k}": (k, k) for k in self.sizes} | {f"k={k}+1": (k, k + 1) for k in self.extra}
