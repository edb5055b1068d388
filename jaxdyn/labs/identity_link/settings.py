"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..settings import LabSettings, setting

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of identity-link; times are in units of the loss L = E[(f - f*)^2] over x ~ N(0, I), without 1/2.

    The paper's own: five runs, batch 200, learning rate .001, |W|_2 about .6, which is a scale of .3.
    """

    seeds: int = setting(5, "runs of each network", least=2, quick=3, tiny=2)
    dim: int = setting(20, "inputs and neurons of the runs by SGD", least=3, quick=10, tiny=4)
    scale: float = setting(0.3, "the entries of W and W* are normal with this deviation over sqrt(dim); |W|_2 is about twice it", above=0)
    vanilla_scale: float = setting(1.0, "likewise without the identity, for the vanilla link; 1 gives rows of length 1", above=0)
    batch: int = setting(200, "fresh samples of a step", least=1, tiny=10)
    learning_rates: tuple[float, ...] = setting(
        (0.001, 0.002, 0.004),
        "constant ones, of which the first is the paper's",
        above=0,
        entries=3,
        order="rising",
        quick=(0.002, 0.004, 0.008),
        tiny=(0.01, 0.02, 0.04),
    )
    end_time: float = setting(30.0, "end time of SGD and flow; SGD takes end_time / learning rate steps", above=0.02, quick=10.0, tiny=3.0)
    decay_rate: float = setting(10.0, "c of the decaying learning rates c / (k + k0), k the step", above=0)
    decay_offset: float = setting(2500.0, "k0 of the decaying learning rates", above=0)
    decay_steps: int = setting(15000, "steps with decaying learning rates", least=100, quick=3000, tiny=100)
    reached: float = setting(1e-3, "a run has reached the teacher if L ends below this", above=0)
    phase_dim: int = setting(400, "inputs of the start with two phases", least=4, quick=100, tiny=20)
    phase_small: int = setting(100, "inputs at which that start has one phase only", least=3, quick=25, tiny=6)
    phase_norm: float = setting(0.6, "|W0|_2 of that start", above=0)
    phase_runs: int = setting(3, "its runs", least=2, quick=2)
    phase_time: float = setting(1.5, "their end time", above=0.044, tiny=0.5)
    starts: int = setting(20, "starts of each kind at which the gradient's direction is looked at", least=2, quick=10, tiny=2)
    rtol: float = setting(1e-6, "relative tolerance of the flow", above=0, below=1)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("flow", "sgd", "decay", "phases", "starts", "scales", "formula", "points", "permuted"),
        order="different",
        quick=("decay", "points"),
        tiny=("decay", "phases", "formula", "points"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("phase_small", "phase_dim") and self.phase_small >= self.phase_dim:
            yield f"phase_small={self.phase_small} must be below phase_dim={self.phase_dim}."

    @property
    def times(self) -> "np.ndarray":
        """Record times of SGD and flow."""
        import numpy as np

        return np.concatenate([[0.0], np.geomspace(0.02, self.end_time, 50)])

    @property
    def decay_time(self) -> float:
        """The time that the decaying learning rates sum up to, by the integral."""
        import numpy as np

        return self.decay_rate * float(np.log1p(self.decay_steps / self.decay_offset))

    @property
    def phase_times(self) -> "np.ndarray":
        """Record times of the two phases: densely about the turn."""
        import numpy as np

        from .starts import TURN

        return np.concatenate([TURN, np.geomspace(1.1 * TURN[-1], self.phase_time, 25)])
