"""Tables of labs and claims, for the terminal and for the docs."""

from .claims import claims_markdown as claims_markdown
from .claims import claims_table as claims_table
from .claims import headline as headline
from .tables import number as number
from .tables import paths_table as paths_table
from .tables import rows_table as rows_table
from .tables import settings_table as settings_table
