"""Moving pictures: a figure drawn frame by frame into a GIF, or an MP4 where ffmpeg is installed."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.figure import Figure

DOTS_AN_INCH = 100


def save_animation(figure: Figure, draw_frame: Callable[[int], object], frames: int, path: str | Path, fps: int = 20) -> None:
    """Writes an animation.

    Args:
        figure: the figure.
        draw_frame: changes the figure to a frame, numbered from 0.
        frames: how many.
        path: a name that ends in .gif, or in .mp4, for which ffmpeg is needed.
        fps: frames a second.

    Raises:
        ValueError: another ending, no frames, or no ffmpeg for an MP4.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise ValueError(f"an animation is written as .gif or .mp4, and {path.name} ends in neither: name another file.")
    if frames < 1 or fps < 1:
        raise ValueError(f"an animation needs a frame, and one a second, at least; {frames} and {fps} were given.")
    if ending == ".mp4" and not FFMpegWriter.isAvailable():
        raise ValueError(f"{path.name} needs ffmpeg, which is not installed: name a .gif instead.")
    writer = FFMpegWriter(fps=fps) if ending == ".mp4" else PillowWriter(fps=fps)
    film = FuncAnimation(figure, lambda k: draw_frame(k) or (), frames=frames, init_func=lambda: (), blit=False)  # pyright: ignore
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save(path, writer=writer, dpi=DOTS_AN_INCH, savefig_kwargs={"facecolor": "white"})
