"""Seeds times settings: batches that are refilled, and their results as Datasets."""

from .dataset import final_params as final_params
from .dataset import outcome_counts as outcome_counts
from .dataset import summarise as summarise
from .opened import open as open
from .polish import polish_lanes as polish_lanes
from .sweep import sweep as sweep
