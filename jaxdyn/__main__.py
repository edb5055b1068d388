"""`python -m jaxdyn` is the command `jaxdyn`."""

from .cli import main

main()
