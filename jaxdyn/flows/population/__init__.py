"""Flows on all Gaussian inputs at once, by closed forms of the expectations."""

from .flow import PopulationFlow as PopulationFlow
from .identity_link import IdentityLinkFlow as IdentityLinkFlow
from .order import OrderParameterFlow as OrderParameterFlow
from .symmetric import PolarTeacherFlow as PolarTeacherFlow
from .symmetric import SymmetricTeacherFlow as SymmetricTeacherFlow
