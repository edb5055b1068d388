"""Losses by their names."""

from .._checks import shown
from .base import AbstractLoss
from .classes import cross_entropy
from .correlation import correlation
from .margins import exponential, hinge, logistic, squared_hinge
from .squares import mean_square, square

_LOSSES: dict[str, AbstractLoss] = {
    member.name: member for member in (square, mean_square, logistic, exponential, hinge, squared_hinge, cross_entropy, correlation)
}


def loss(name: str | AbstractLoss) -> AbstractLoss:
    """Look a loss up by its name.

    Args:
        name: `"square"`, `"mean_square"`, `"logistic"`, `"exponential"`, `"hinge"`, `"squared_hinge"`, `"cross_entropy"` or
            `"correlation"`; or a loss, which is handed back.

    Returns:
        The loss.

    Raises:
        ValueError: if the name is unknown.
    """
    if isinstance(name, AbstractLoss):
        return name
    if not isinstance(name, str) or name not in _LOSSES:
        raise ValueError(f"There is no loss {shown(name)}; the known ones are {', '.join(_LOSSES)}.")
    return _LOSSES[name]
