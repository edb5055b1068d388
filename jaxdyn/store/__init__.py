"""Results on disk: blocks of lanes in Zarr."""

from .._describe import describe as describe
from .._describe import first_difference as first_difference
from .lanes import Column as Column
from .lanes import LaneStore as LaneStore
from .lanes import blank as blank
from .root import only_writer as only_writer
from .root import open_root as open_root
