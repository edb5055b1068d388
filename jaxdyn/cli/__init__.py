"""The commands: `jaxdyn list | run | resume | show | claims | doctor`."""

from .app import main as main
