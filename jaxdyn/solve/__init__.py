"""One lane: solvers, stop rules, records, outcomes and the certificate."""

from .lane import Certificate as Certificate
from .lane import Lane as Lane
from .lane import LaneState as LaneState
from .lane import Settings as Settings
from .lane import Stretch as Stretch
from .observe import Observable as Observable
from .observe import evaluate as evaluate
from .observe import observables as observables
from .outcome import Outcome as Outcome
from .records import RecordRequest as RecordRequest
from .records import record_times as record_times
from .rules import AbstractStopRule as AbstractStopRule
from .rules import GradientNormBelow as GradientNormBelow
from .rules import LossBelow as LossBelow
from .rules import Moment as Moment
from .rules import SteadyDirection as SteadyDirection
from .rules import StopWhen as StopWhen
from .settings import Tolerances as Tolerances
from .settings import check_flow as check_flow
from .settings import describe_method as describe_method
from .settings import make_settings as make_settings
from .solution import Solution as Solution
from .solve import load_solution as load_solution
from .solve import solve as solve
