"""The commands: `jaxdyn list | run | resume | show | claims | doctor`."""

from .interrupt import without_traceback


def main() -> None:
    """The entry point of the command `jaxdyn`, which imports nothing before Ctrl-C is taken care of."""
    with without_traceback():
        from .app import start

        start()
