"""Drawing: arrays to panels."""

from . import panels as panels
from .animation import save_animation as save_animation
from .style import BLUE as BLUE
from .style import GREEN as GREEN
from .style import GREY as GREY
from .style import INK as INK
from .style import ORANGE as ORANGE
from .style import make_figure as make_figure
from .style import save as save
from .style import style as style
