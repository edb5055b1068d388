"""Descriptions of flows, functions and settings as JSON: what made a result, in any process."""

from .data import describe as describe
from .difference import first_difference as first_difference
from .difference import named_difference as named_difference
from .origin import source_digest as source_digest
