"""What a user may change about the lab."""

import dataclasses

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of teacher-student; times are in units of the loss J = 1/2 E[(f - f*)^2] over x ~ N(0, I).

    Student and teacher are sums of K ReLU neurons, the teacher's vectors orthonormal, on K inputs unless said otherwise.
    """

    seeds: int = setting(100, "runs from each level of noise, and of each number of neurons")
    sizes: tuple[int, ...] = setting((2, 5, 10), "numbers K of neurons")
    starts: int = setting(1000, "starts of one neuron in each ball")
    dims: tuple[int, ...] = setting((2, 5, 20), "numbers d of inputs of one neuron")
    radii: tuple[float, ...] = setting((0.25, 0.5, 1.0), "eps: starts are uniform in the ball of radius eps sqrt(2 pi/(d+1)) |w*|")
    samples: tuple[int, ...] = setting((100, 1000, 10000, 100000), "numbers of samples for which the gradient is compared to its formula")
    repeats: int = setting(64, "sets of samples of each number")
    angles: int = setting(12, "angles to the teacher at which the gradient is compared, from 0 to pi")
    start: float = setting(1e-3, "the part of the teacher that students start with")
    distances: tuple[float, ...] = setting((1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10), "distances x - y from the diagonal at the start")
    noises: tuple[float, ...] = setting((1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 0.3), "standard deviations of the noise at the start")
    weight_ratio: float = setting(4.0, "largest over smallest output weight, where they differ")
    grid: int = setting(400, "angles a side of the grid on which the sign of L_12 is looked at")
    out_of_plane: int = setting(64, "starts from which critical points out of the teachers' plane are looked for")
    extra_dim: int = setting(3, "inputs beyond the plane of two teachers there, at least 2")
    extra_seeds: int = setting(16, "runs with two students and one teacher")
    extra_time: float = setting(3e3, "how long they are followed")
    rtol: float = setting(1e-8, "relative tolerance; that of the runs with noise is a hundred times as large")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        for name, least in {
            "seeds": 2,
            "starts": 10,
            "repeats": 2,
            "angles": 3,
            "grid": 10,
            "out_of_plane": 1,
            "extra_dim": 2,
            "extra_seeds": 1,
        }.items():
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be an integer of at least {least}.")
        for name, least in {"sizes": 2, "dims": 2, "samples": 10}.items():
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or any(not isinstance(k, int) or k < least for k in values):
                raise ValueError(f"{name}={values} must be integers of at least {least} in rising order, separated by commas.")
        if len(self.samples) < 3:
            raise ValueError(f"samples={self.samples} must be three numbers or more, to fit a slope through.")
        for name in ("radii", "noises"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] <= 0:
                raise ValueError(f"{name}={values} must be positive and in rising order, separated by commas.")
        if self.radii[-1] > 1:
            raise ValueError(f"radii={self.radii} must not be above 1, where the bound (1 - eps)/2 says nothing.")
        small = [distance for distance in self.distances if distance <= 1e-3]
        if list(self.distances) != sorted(set(self.distances), reverse=True) or len(small) < 3 or self.distances[-1] < 1e-12:
            raise ValueError(f"distances={self.distances} must fall, three or more of them below 1e-3 and none below 1e-12.")
        for name in ("start", "extra_time", "rtol"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive.")
        if not self.weight_ratio > 1:
            raise ValueError(f"weight_ratio={self.weight_ratio} must be above 1.")
