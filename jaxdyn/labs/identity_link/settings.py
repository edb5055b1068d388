"""What a user may change about the lab."""

import dataclasses

import numpy as np

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of identity-link; times are in units of the loss L = E[(f - f*)^2] over x ~ N(0, I), without 1/2.

    The paper's own: five runs, batch 200, learning rate .001, |W|_2 about .6, which is a scale of .3.
    """

    seeds: int = setting(5, "runs of each network")
    dim: int = setting(20, "inputs and neurons of the runs by SGD")
    scale: float = setting(0.3, "the entries of W and W* are normal with this deviation over sqrt(dim); |W|_2 is about twice it")
    vanilla_scale: float = setting(1.0, "likewise without the identity, for the vanilla link; 1 gives rows of length 1")
    batch: int = setting(200, "fresh samples of a step")
    learning_rates: tuple[float, ...] = setting((0.001, 0.002, 0.004), "constant ones, of which the first is the paper's")
    end_time: float = setting(30.0, "end time of SGD and flow; SGD takes end_time / learning rate steps")
    decay_rate: float = setting(10.0, "c of the decaying learning rates c / (k + k0), k the step")
    decay_offset: float = setting(2500.0, "k0 of the decaying learning rates")
    decay_steps: int = setting(15000, "steps with decaying learning rates")
    reached: float = setting(1e-3, "a run has reached the teacher if L ends below this")
    phase_dim: int = setting(400, "inputs of the start with two phases")
    phase_small: int = setting(100, "inputs at which that start has one phase only")
    phase_norm: float = setting(0.6, "|W0|_2 of that start")
    phase_runs: int = setting(3, "its runs")
    phase_time: float = setting(1.5, "their end time")
    starts: int = setting(20, "starts of each kind at which the gradient's direction is looked at")
    rtol: float = setting(1e-6, "relative tolerance of the flow")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        for name, least in (("seeds", 2), ("dim", 3), ("batch", 1), ("decay_steps", 100), ("phase_runs", 2), ("starts", 2)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be an integer of at least {least}.")
        if not 3 <= self.phase_small < self.phase_dim:
            raise ValueError(f"phase_small={self.phase_small} must be at least 3 and below phase_dim={self.phase_dim}.")
        if len(self.learning_rates) < 3 or list(self.learning_rates) != sorted(set(self.learning_rates)):
            raise ValueError(f"learning_rates={self.learning_rates} must be three or more in rising order: a slope is fitted.")
        positive = ("scale", "vanilla_scale", "end_time", "decay_rate", "decay_offset", "reached", "phase_norm", "phase_time", "rtol")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive.")
        if not self.learning_rates[0] > 0:
            raise ValueError("learning_rates must be positive.")
        if self.phase_time <= TURN[-1]:
            raise ValueError(f"phase_time={self.phase_time:g} must be beyond {TURN[-1]:g}, up to where the turn is looked for.")

    @property
    def times(self) -> np.ndarray:
        """Record times of SGD and flow."""
        return np.concatenate([[0.0], np.geomspace(0.02, self.end_time, 50)])

    @property
    def decay_time(self) -> float:
        """The time that the decaying learning rates sum up to, by the integral."""
        return self.decay_rate * float(np.log1p(self.decay_steps / self.decay_offset))

    @property
    def phase_times(self) -> np.ndarray:
        """Record times of the two phases: densely about the turn."""
        return np.concatenate([TURN, np.geomspace(1.1 * TURN[-1], self.phase_time, 25)])


TURN = np.linspace(0.0, 0.04, 41)
"""Times at which the turn of the gradient is looked for."""
