"""What a user may change about the lab."""

import dataclasses

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of lazy-to-rich; times are in units of the loss 1/2 sum over samples.

    Networks are f = (alpha / sqrt m) sum_i c_i act(a_i x - b_i), minus its own start. The imbalance delta is c^2 - a^2 - b^2 of every
    neuron in units of the squared init scale. The grid is the same for every width and imbalance, in the variable
    u = alpha sqrt(m) (1 + max(0, -delta)), for which the theory predicts one curve.
    """

    seeds: int = setting(16, "seeds for every cell of the phase diagram")
    samples: int = setting(6, "points of the square wave on [-1, 1]")
    periods: float = setting(1.5, "periods of the square wave")
    widths: tuple[int, ...] = setting((32, 128, 512), "widths, even; the ReLU networks leave out the largest")
    deltas: tuple[float, ...] = setting((-100.0, -30.0, -10.0, -3.0, 0.0, 3.0, 10.0), "imbalances of the ReLU networks, 0 among them")
    coarse: tuple[float, ...] = setting((1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), "alpha sqrt(m) of the first round, rich to lazy")
    level: float = setting(0.3, "the NTK change at which the boundary between lazy and rich is drawn")
    rounds: int = setting(2, "rounds of refinement of the boundary after the first")
    points: int = setting(5, "new values of alpha in each round between the two that enclose the boundary")
    reach: float = setting(1.2, "at the start the knots of the ReLU networks are uniform on [-reach, reach]")
    steepness: float = setting(3.0, "standard deviation of a and b at the start of the tanh networks")
    loss_ratio: float = setting(1e-4, "training ends when the loss has fallen to this share of its start")
    scaled_time: float = setting(3e3, "end time times alpha^2 (tanh) or alpha (ReLU), if the loss has not fallen by then")
    rtol: float = setting(1e-5, "relative tolerance")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        if not isinstance(self.seeds, int) or self.seeds < 2:
            raise ValueError(f"seeds={self.seeds} must be an integer of at least 2, so that there is a spread to report.")
        for name, least in (("widths", 2), ("deltas", 3), ("coarse", 3)):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) < least or list(values) != sorted(set(values)):
                raise ValueError(f"{name} must list at least {least} numbers in rising order, separated by commas.")
        if any(not isinstance(m, int) or m < 2 or m % 2 for m in self.widths):
            raise ValueError(f"widths={self.widths} must be even numbers, because neurons come in pairs.")
        if 0.0 not in self.deltas or sum(delta <= -10 for delta in self.deltas) < 2:
            raise ValueError("deltas must have 0 among them, and two of at most -10 to fit an exponent through.")
        for name in ("coarse", "level", "reach", "steepness", "loss_ratio", "scaled_time", "rtol"):
            if not min(getattr(self, name) if name == "coarse" else [getattr(self, name)]) > 0:
                raise ValueError(f"{name} must be positive.")
        for name, least in (("rounds", 0), ("points", 1)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be an integer of at least {least}.")

    @property
    def relu_widths(self) -> tuple[int, ...]:
        """The widths of the ReLU networks, at the largest of which the imbalance varies."""
        return self.widths[:-1]
