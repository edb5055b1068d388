"""Panels draw what there is, and stay empty where a run has failed."""

import numpy as np
import pytest

from jaxdyn import plot


@pytest.mark.parametrize(
    ("times", "limits"),
    [([0.0, 1.0, 10.0], (1.0, 10.0)), ([0.0, 1.0, np.nan], (1.0, 1.001)), ([np.nan, np.nan, np.nan], None)],
)
def test_paths_of_a_lane_that_failed(times, limits):
    figure, axes = plot.make_figure((4.0, 3.0), [["one"]])
    weights = np.asarray([1.0, np.nan]) if limits is None else np.asarray([1.0, 0.5])
    plot.panels.paths(axes["one"], times, np.ones((3, 2)), weights, [0.5], (0.0, 2.0))
    assert axes["one"].get_xscale() == "log" and axes["one"].get_ylim() == (0.0, 2.0)
    assert limits is None or axes["one"].get_xlim()[0] <= limits[0] <= limits[1] <= axes["one"].get_xlim()[1]
    figure.canvas.draw()
