"""What a user may change about the lab."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of kernel-vs-adaptive; times are in units of the loss 1/2 sum over samples.

    The imbalance of a regime is delta = c^2 - a^2 - b^2 of every neuron; its end time is `scaled_time / |delta|` where delta is
    negative, because the kernel, and with it the speed, grows like |delta|.
    """

    seeds: int = setting(64, "seeds for every regime and every claim; the phase picture takes a quarter", least=2, quick=8, tiny=2)
    samples: int = setting(10, "points of the square wave on [-1, 1]", least=3, tiny=4)
    periods: float = setting(1.5, "periods of the square wave", above=0)
    neurons: int = setting(64, "width of the network", least=2, quick=32, tiny=6)
    reach: float = setting(1.2, "at the start the knots are uniform on [-reach, reach]", above=0)
    init_scale: float = setting(1.0, "multiplies the start of all weights", above=0)
    kernel_delta: float = setting(-1000.0, "imbalance of the kernel regime", below=0)
    intermediate_delta: float = setting(-100.0, "imbalance of the intermediate regime", below=0)
    adaptive_delta: float = setting(3.0, "imbalance of the adaptive regime", least=0)
    scaled_time: float = setting(2e4, "end time times |delta| where delta is negative", above=0, tiny=200.0)
    adaptive_time: float = setting(1000.0, "end time of the adaptive regime", above=0, tiny=10.0)
    rtol: float = setting(1e-6, "relative tolerance of the regimes, the phase picture and the limits", above=0, below=1)
    phase_scales: tuple[float, ...] = setting(
        (0.5, 0.7, 1.0, 1.4, 2.0), "init scales of the phase picture", above=0, entries=2, order="different", quick=(0.5, 1.0, 2.0)
    )
    phase_deltas: tuple[float, ...] = setting(
        (-1000.0, -300.0, -100.0, -30.0, -10.0, -3.0, 3.0),
        "imbalances of the phase picture",
        entries=2,
        order="different",
        quick=(-100.0, -10.0, 3.0),
    )
    phase_time: float = setting(1e3, "scaled time of the phase picture", above=0)
    limit_widths: tuple[int, ...] = setting(
        (32, 128, 512), "widths on the way to the kernel's cubic spline", least=1, entries=2, order="different"
    )
    lazy_multipliers: tuple[float, ...] = setting(
        (4.0, 16.0, 64.0), "output multipliers of the lazy limit", above=0, entries=2, order="different", tiny=(4.0, 16.0)
    )
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("regimes", "phase", "freezing", "full", "reduced", "limit", "lazy", "paired"),
        order="different",
        quick=("freezing", "full", "reduced", "limit"),
        tiny=("phase", "freezing", "full", "reduced", "limit", "paired"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        if fit("samples", "periods") and not (self.periods <= self.samples / 2 and (2 * self.periods).is_integer()):
            yield f"periods={self.periods:g} must be a multiple of 1/2 and at most samples/2 = {self.samples / 2:g}."

    def end_time(self, delta: float, scaled_time: float) -> float:
        """When a run of this imbalance ends."""
        return scaled_time / abs(delta) if delta < 0 else self.adaptive_time * scaled_time / self.scaled_time
