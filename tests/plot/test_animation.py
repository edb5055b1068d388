"""Animations, and what a lab says that has none."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxdyn import labs, plot
from jaxdyn.plot import animation


def test_every_frame_is_in_the_file(tmp_path):
    figure = Figure(figsize=(2, 2))
    (dot,) = figure.add_axes((0, 0, 1, 1)).plot([0.5], [0.5], "o", markersize=40)
    plot.save_animation(figure, lambda k: dot.set_color(("#ff0000", "#00ff00", "#0000ff")[k]), 3, tmp_path / "new" / "film.gif")
    with Image.open(tmp_path / "new" / "film.gif") as film:
        assert film.n_frames == 3
        for k in range(3):
            film.seek(k)
            middle = np.asarray(film.convert("RGB"))[film.height // 2, film.width // 2]
            assert np.argmax(middle) == k and middle[k] > 200


@pytest.mark.parametrize(("name", "match"), [("film.png", "neither"), ("film.mp4", "ffmpeg")])
def test_files_that_cannot_be_written_are_refused(tmp_path, monkeypatch, name, match):
    monkeypatch.setattr(animation.FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(ValueError, match=match):
        plot.movie_writer(tmp_path / name)


def test_a_lab_without_an_animation_says_so_before_it_runs():
    with pytest.raises(ValueError, match="no animation"):
        labs.spurious_minima.run(animate="film.gif", progress=False)
