"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of teacher-student; times are in units of the loss J = 1/2 E[(f - f*)^2] over x ~ N(0, I).

    Student and teacher are sums of K ReLU neurons, the teacher's vectors orthonormal, on K inputs unless said otherwise.
    """

    seeds: int = setting(100, "runs from each level of noise, and of each number of neurons", least=2, quick=20, tiny=2)
    sizes: tuple[int, ...] = setting((2, 5, 10), "numbers K of neurons", least=2, entries=1, order="rising", quick=(2, 5), tiny=(2,))
    starts: int = setting(1000, "starts of one neuron in each ball", least=10, quick=100, tiny=10)
    dims: tuple[int, ...] = setting(
        (2, 5, 20), "numbers d of inputs of one neuron", least=2, entries=1, order="rising", quick=(2, 5), tiny=(2,)
    )
    radii: tuple[float, ...] = setting(
        (0.25, 0.5, 1.0),
        "eps: starts are uniform in the ball of radius eps sqrt(2 pi/(d+1)) |w*|",
        above=0,
        most=1,
        entries=1,
        order="rising",
        tiny=(0.5,),
    )
    samples: tuple[int, ...] = setting(
        (100, 1000, 10000, 100000),
        "numbers of samples for which the gradient is compared to its formula",
        least=10,
        entries=3,
        order="rising",
        quick=(100, 1000, 10000),
        tiny=(10, 20, 40),
    )
    repeats: int = setting(64, "sets of samples of each number", least=2, quick=16, tiny=2)
    angles: int = setting(12, "angles to the teacher at which the gradient is compared, from 0 to pi", least=3, quick=7, tiny=3)
    start: float = setting(1e-3, "the part of the teacher that students start with", above=0)
    distances: tuple[float, ...] = setting(
        (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10),
        "distances x - y from the diagonal at the start",
        least=1e-12,
        entries=3,
        order="falling",
        tiny=(0.001, 0.0001, 1e-05),
    )
    noises: tuple[float, ...] = setting(
        (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 0.3),
        "standard deviations of the noise at the start",
        above=0,
        entries=1,
        order="rising",
        quick=(0.0001, 0.001, 0.01),
        tiny=(0.001,),
    )
    weight_ratio: float = setting(4.0, "largest over smallest output weight, where they differ", above=1)
    grid: int = setting(400, "angles a side of the grid on which the sign of L_12 is looked at", least=10, quick=100, tiny=10)
    out_of_plane: int = setting(64, "starts from which critical points out of the teachers' plane are looked for", least=1)
    extra_dim: int = setting(3, "inputs beyond the plane of two teachers there, at least 2", least=2)
    extra_seeds: int = setting(16, "runs with two students and one teacher", least=1, quick=4, tiny=1)
    extra_time: float = setting(3e3, "how long they are followed", above=0)
    rtol: float = setting(1e-8, "relative tolerance; that of the runs with noise is a hundred times as large", above=0, below=1)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("ball", "formula", "signs", "plane", "full", "noise", "out", "extra"),
        order="different",
        quick=("full", "out"),
        tiny=("full", "noise", "out", "extra"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("distances") and sum(distance <= 1e-3 for distance in self.distances) < 3:
            yield f"distances={self.distances} must have three or more of at most 1e-3 among them, through which a slope is fitted."
