"""Animations: frames that are drawn, and names that are refused."""

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from PIL import Image

from jaxdyn import plot


def moving():
    figure, axes = plot.make_figure((2.0, 2.0), [["only"]])
    axes["only"].set(xlim=(0, 1), ylim=(0, 1))
    (dot,) = axes["only"].plot([0.1], [0.5], "o", markersize=20, color="red")
    drawn = []

    def draw_frame(k):
        drawn.append(k)
        dot.set_xdata([0.1 + 0.2 * k])

    return figure, draw_frame, drawn


def test_a_gif_has_every_frame_once(tmp_path):
    figure, draw_frame, drawn = moving()
    plot.save_animation(figure, draw_frame, 4, tmp_path / "new" / "dot.gif", fps=10)
    assert drawn == [0, 1, 2, 3]
    centres = []
    with Image.open(tmp_path / "new" / "dot.gif") as film:
        assert film.n_frames == 4 and film.info["duration"] == 100
        for k in range(4):
            film.seek(k)
            red, green, _ = np.moveaxis(np.asarray(film.convert("RGB"), float), -1, 0)
            centres.append(np.mean(np.nonzero((red > 200) & (green < 80))[1]))
    steps = np.diff(centres)
    assert steps.min() > 10 and np.ptp(steps) < 3


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_an_mp4_is_written(tmp_path):
    figure, draw_frame, drawn = moving()
    plot.save_animation(figure, draw_frame, 3, tmp_path / "dot.mp4")
    assert drawn == [0, 1, 2] and (tmp_path / "dot.mp4").read_bytes()[4:8] == b"ftyp"


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    figure, draw_frame, drawn = moving()
    with pytest.raises(ValueError, match="neither"):
        plot.save_animation(figure, draw_frame, 3, tmp_path / "dot.webm")
    with pytest.raises(ValueError, match="at least"):
        plot.save_animation(figure, draw_frame, 0, tmp_path / "dot.gif")
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(ValueError, match="needs ffmpeg"):
        plot.save_animation(figure, draw_frame, 3, tmp_path / "dot.mp4")
    assert not drawn and not list(tmp_path.iterdir())
