"""Moving pictures: a figure drawn frame by frame into a GIF, or an MP4 where ffmpeg is installed."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.figure import Figure

from .._checks import check_count, check_function, shown

DOTS_AN_INCH = 100


def movie_writer(path: str | Path, fps: int = 20) -> AbstractMovieWriter:
    """What writes an animation of this name; to be asked before what is to be drawn is computed.

    Args:
        path: a name that ends in .gif, or in .mp4, for which ffmpeg is needed.
        fps: frames a second.

    Returns:
        The writer.

    Raises:
        ValueError: another ending, or no ffmpeg for an MP4.
    """
    if not isinstance(path, str | PathLike):
        raise ValueError(f"path must be the name of a file, not {shown(path)}.")
    path, fps = Path(path), check_count("fps", fps)
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise ValueError(f"an animation is written as .gif or .mp4, and {path.name} ends in neither: name another file.")
    if ending == ".mp4" and not FFMpegWriter.isAvailable():
        raise ValueError(f"{path.name} needs ffmpeg, which is not installed: name a .gif instead.")
    return FFMpegWriter(fps=fps) if ending == ".mp4" else PillowWriter(fps=fps)


def save_animation(figure: Figure, draw_frame: Callable[[int], object], frames: int, path: str | Path, fps: int = 20) -> None:
    """Writes an animation.

    Args:
        figure: the figure.
        draw_frame: changes the figure to a frame, numbered from 0.
        frames: how many.
        path: see `movie_writer`; its folder is made.
        fps: frames a second.

    Raises:
        ValueError: there is no figure, or no frame.
    """
    writer = movie_writer(path, fps)
    if not isinstance(figure, Figure):
        raise ValueError(f"save_animation draws into a matplotlib Figure, not {shown(figure)}.")
    check_function("draw_frame", draw_frame, ("frame",))
    frames = check_count("frames", frames)
    film = FuncAnimation(figure, lambda k: draw_frame(k) or (), frames=frames, init_func=lambda: (), blit=False)  # pyright: ignore
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    film.save(path, writer=writer, dpi=DOTS_AN_INCH, savefig_kwargs={"facecolor": "white"})
