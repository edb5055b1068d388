"""What a user may change about the lab."""

import dataclasses

from ..base import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of kernel-vs-adaptive; times are in units of the loss 1/2 sum over samples.

    The imbalance of a regime is delta = c^2 - a^2 - b^2 of every neuron; its end time is `scaled_time / |delta|` where delta is
    negative, because the kernel, and with it the speed, grows like |delta|.
    """

    seeds: int = setting(64, "seeds for every regime and every claim; the phase picture takes a quarter")
    samples: int = setting(10, "points of the square wave on [-1, 1]")
    periods: float = setting(1.5, "periods of the square wave")
    neurons: int = setting(64, "width of the network")
    reach: float = setting(1.2, "at the start the knots are uniform on [-reach, reach]")
    init_scale: float = setting(1.0, "multiplies the start of all weights")
    kernel_delta: float = setting(-1000.0, "imbalance of the kernel regime")
    intermediate_delta: float = setting(-100.0, "imbalance of the intermediate regime")
    adaptive_delta: float = setting(3.0, "imbalance of the adaptive regime")
    scaled_time: float = setting(2e4, "end time times |delta| where delta is negative")
    adaptive_time: float = setting(1000.0, "end time of the adaptive regime")
    rtol: float = setting(1e-6, "relative tolerance of the regimes, the phase picture and the limits")
    phase_scales: tuple[float, ...] = setting((0.5, 0.7, 1.0, 1.4, 2.0), "init scales of the phase picture")
    phase_deltas: tuple[float, ...] = setting((-1000.0, -300.0, -100.0, -30.0, -10.0, -3.0, 3.0), "imbalances of the phase picture")
    phase_time: float = setting(1e3, "scaled time of the phase picture")
    limit_widths: tuple[int, ...] = setting((32, 128, 512), "widths on the way to the kernel's cubic spline")
    lazy_multipliers: tuple[float, ...] = setting((4.0, 16.0, 64.0), "output multipliers of the lazy limit")

    def __post_init__(self):
        """Refuses what cannot run.

        Raises:
            ValueError: in a sentence that names the mend.
        """
        if not isinstance(self.seeds, int) or self.seeds < 2:
            raise ValueError(f"seeds={self.seeds} must be an integer of at least 2, so that there is a spread to report.")
        if not isinstance(self.neurons, int) or self.neurons < 2:
            raise ValueError(f"neurons={self.neurons} must be an integer of at least 2.")
        if self.kernel_delta >= 0 or self.intermediate_delta >= 0 or self.adaptive_delta < 0:
            raise ValueError("the kernel and intermediate regimes need a negative delta, the adaptive one delta >= 0.")
        for name in ("init_scale", "scaled_time", "adaptive_time", "rtol", "phase_time", "reach"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        for name in ("phase_scales", "phase_deltas", "limit_widths", "lazy_multipliers"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) < 2 or len(set(values)) < len(values):
                raise ValueError(f"{name} must list at least two different numbers, separated by commas.")

    def end_time(self, delta: float, scaled_time: float) -> float:
        """When a run of this imbalance ends."""
        return scaled_time / abs(delta) if delta < 0 else self.adaptive_time * scaled_time / self.scaled_time
