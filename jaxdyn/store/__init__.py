"""Results on disk: blocks of lanes in Zarr."""

from .._describe import describe as describe
from .._describe import first_difference as first_difference
from .find import find_stores as find_stores
from .lanes import FORMAT as FORMAT
from .lanes import MISSING as MISSING
from .lanes import Column as Column
from .lanes import LaneStore as LaneStore
from .lanes import blank as blank
from .names import FORBIDDEN as FORBIDDEN
from .names import check_case as check_case
from .names import check_name as check_name
from .root import groups_of as groups_of
from .root import open_root as open_root
from .root import read_root as read_root
