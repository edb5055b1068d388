"""Moving pictures."""

from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.figure import Figure


def save_animation(
    figure: Figure, draw_frame: Callable[[int], object], frames: int | Iterable[int], path: str | Path, fps: int = 20
) -> None:
    """Writes a GIF.

    Args:
        figure: what is drawn on.
        draw_frame: draws one frame, given its number.
        frames: how many, or their numbers.
        path: the file.
        fps: frames a second.
    """

    def frame(k: int) -> tuple[()]:
        draw_frame(k)
        return ()

    FuncAnimation(figure, frame, frames=frames).save(str(path), PillowWriter(fps=fps))
