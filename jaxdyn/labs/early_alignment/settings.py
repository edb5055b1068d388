"""Settings of the lab early-alignment."""

import dataclasses
from collections.abc import Callable, Iterator

from ..settings import LabSettings, setting


@dataclasses.dataclass(frozen=True)
class Settings(LabSettings):
    """Settings of early-alignment; times are those of the loss sum_i exp(-y_i f(x_i)).

    With 2 log(1 + exp(-y f)), which the paper takes as well, the slope at f = 0 is the same, and so are the times of the early phase.
    A start's norm is that of all weights.
    """

    seeds: int = setting(8, "starts of each data set", least=2, quick=4, tiny=2)
    draws: int = setting(8, "data sets of each cell; lanes of a cell are starts times data sets", least=2, quick=2)
    sizes: tuple[int, ...] = setting(
        (8, 16, 64), "numbers n of samples; a compilation each", least=2, entries=1, order="rising", quick=(8, 16), tiny=(4,)
    )
    separations: tuple[float, ...] = setting(
        (0.02, 0.1, 0.5),
        "smallest cosines mu of x_i y_i and x_j y_j",
        above=0,
        below=1,
        entries=1,
        order="rising",
        quick=(0.1, 0.5),
        tiny=(0.1,),
    )
    small: float = setting(1e-6, "norm of the starts but where it is varied", above=0, most=1e-2)
    dim: int = setting(10, "numbers of inputs of the cones", least=2, tiny=3)
    neurons: int = setting(20, "hidden neurons", least=2, tiny=4)
    studied: int = setting(16, "n of the sweeps over norms, imbalances, flips and outliers, and of the plane; one of the sizes", tiny=4)
    separation: float = setting(0.1, "mu of these; one of the separations")
    norms: tuple[float, ...] = setting(
        (1e-8, 1e-4, 1e-2, 0.3, 1.0, 3.0),
        "norms of the start: when do the two phases part?",
        above=0,
        entries=1,
        order="rising",
        quick=(1e-08, 0.0001, 0.01, 1.0),
        tiny=(0.0001, 1.0),
    )
    imbalances: tuple[float, ...] = setting(
        (-30.0, -3.0, 3.0, 30.0),
        "v^2 - |w|^2 of each neuron where |v w| is about 2.5",
        entries=1,
        order="rising",
        quick=(-3.0, 3.0),
        tiny=(3.0,),
    )
    flips: tuple[float, ...] = setting(
        (0.0625, 0.125, 0.25),
        "shares of labels that are flipped",
        above=0,
        below=1,
        entries=1,
        order="rising",
        quick=(0.125,),
        tiny=(0.25,),
    )
    outliers: tuple[float, ...] = setting(
        (0.0625, 0.125, 0.25), "shares of inputs that are moved", above=0, below=1, entries=1, order="rising", quick=(0.125,), tiny=(0.25,)
    )
    outlier_size: float = setting(2.0, "how far they are moved, in norms of the inputs", above=0)
    digits: tuple[int, ...] = setting(
        (0, 1, 2, 7, 4, 9, 3, 8, 5, 6, 1, 7, 0, 6, 8, 9), "pairs of digits, one after the other", least=0, most=9, entries=2
    )
    images: int = setting(60, "images of each pair", least=2)
    mnist: str = setting("", "a folder with MNIST's IDX files, to run its digits too")
    log_loss: float = setting(-100.0, "log10 of the loss at which a run ends", most=-35, tiny=-35.0)
    rtol: float = setting(1e-6, "relative tolerance; in the plane it is a thousandth of it", above=0, below=1)
    leave_out: tuple[str, ...] = setting(
        (),
        "runs that are left out: what rests on them is not tested",
        options=("plane", "digits", "mnist"),
        order="different",
        quick=("digits",),
        tiny=("plane", "digits"),
    )

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What does not go together."""
        for name, values in (("studied", "sizes"), ("separation", "separations")):
            if fit(name, values) and getattr(self, name) not in getattr(self, values):
                yield f"{name}={getattr(self, name)} must be one of the {values}={getattr(self, values)}."
        if fit("digits") and (len(self.digits) % 2 or any(a == b for a, b in self.pairs)):
            yield f"digits={self.digits} must be pairs of different digits, one after the other: 0,1,2,7 are two pairs."

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of digits, labelled -1 and +1."""
        return list(zip(self.digits[::2], self.digits[1::2], strict=False))
