"""Clocks: changes of time, and of coordinates, that wrap a flow and are flows."""

from .direction import DirectionClock as DirectionClock
from .direction import Polar as Polar
from .speed import Clock as Clock
from .speed import Clocked as Clocked
from .speed import arc_length as arc_length
from .speed import loss_time as loss_time
