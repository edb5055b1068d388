"""Kinks: where a pre-activation changes sign inside a step, and how the flow goes on from there."""

from .neurons import NeuronKinks as NeuronKinks
from .state import KinkState as KinkState
from .state import Passage as Passage
from .state import Shift as Shift
from .step import Step as Step
from .switches import Cut as Cut
from .switches import SwitchKinks as SwitchKinks
from .switches import SwitchState as SwitchState
