"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of lazy-to-rich; times are in units of the loss 1/2 sum over samples.

    Networks are f = (alpha / sqrt m) sum_i c_i act(a_i x - b_i), minus its own start. The imbalance delta is c^2 - a^2 - b^2 of every
    neuron in units of the squared init scale. The grid is the same for every width and imbalance, in the variable
    u = alpha sqrt(m) (1 + max(0, -delta)), for which the theory predicts one curve.
    """

    seeds: int = setting(16, "seeds for every cell of the phase diagram", least=2, quick=4, tiny=2)
    samples: int = setting(6, "points of the square wave on [-1, 1]", least=3, tiny=4)
    periods: float = setting(1.5, "periods of the square wave", above=0)
    widths: tuple[int, ...] = setting(
        (32, 128, 512),
        "widths, even; the ReLU networks leave out the largest",
        least=2,
        even=True,
        entries=2,
        order="rising",
        quick=(16, 32),
        tiny=(4, 8),
    )
    deltas: tuple[float, ...] = setting(
        (-100.0, -30.0, -10.0, -3.0, 0.0, 3.0, 10.0),
        "imbalances of the ReLU networks, 0 among them",
        entries=3,
        order="rising",
        quick=(-30.0, -10.0, 0.0),
    )
    coarse: tuple[float, ...] = setting(
        (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        "alpha sqrt(m) of the first round, rich to lazy",
        above=0,
        entries=3,
        order="rising",
        quick=(1.0, 10.0, 100.0, 1000.0),
        tiny=(1.0, 10.0, 100.0),
    )
    level: float = setting(0.3, "the NTK change at which the boundary between lazy and rich is drawn", above=0)
    rounds: int = setting(2, "rounds of refinement of the boundary after the first", least=0, quick=0)
    points: int = setting(5, "new values of alpha in each round between the two that enclose the boundary", least=1)
    reach: float = setting(1.2, "at the start the knots of the ReLU networks are uniform on [-reach, reach]", above=0)
    steepness: float = setting(3.0, "standard deviation of a and b at the start of the tanh networks", above=0)
    loss_ratio: float = setting(1e-4, "training ends when the loss has fallen to this share of its start", above=0, below=1)
    scaled_time: float = setting(
        3e3, "end time times alpha^2 (tanh) or alpha (ReLU), if the loss has not fallen by then", above=0, tiny=100.0
    )
    rtol: float = setting(1e-5, "relative tolerance", above=0, below=1, quick=0.0001, tiny=0.001)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("smooth", "paired", "relu"),
        order="different",
        quick=("paired",),
        tiny=("paired", "relu"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("samples", "periods") and not (self.periods <= self.samples / 2 and (2 * self.periods).is_integer()):
            yield f"periods={self.periods:g} must be a multiple of 1/2 and at most samples/2 = {self.samples / 2:g}."
        if fit("deltas") and (0.0 not in self.deltas or sum(delta <= -10 for delta in self.deltas) < 2):
            yield f"deltas={self.deltas} must have 0 among them, and two of at most -10, through which an exponent is fitted."

    @property
    def relu_widths(self) -> tuple[int, ...]:
        """The widths of the ReLU networks, at the largest of which the imbalance varies."""
        return self.widths[:-1]
