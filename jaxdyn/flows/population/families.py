"""Which moments belong to which activation."""

from functools import partial

from ...models import Activation
from . import smooth
from .moments import Family
from .rectifier import rectifier

_CLOSED = {"identity": smooth.linear, "square": smooth.square, "erf": smooth.erf, "normal_cdf": smooth.normal_cdf}


def kernel_of(activation: Activation, nodes: int) -> smooth.Expectation | None:
    """The kernel of a smooth activation as a function of the overlaps; None for (leaky) ReLU.

    Args:
        activation: the activation.
        nodes: of the quadrature, where there is no closed form.

    Returns:
        The kernel.

    Raises:
        ValueError: the activation is a power of a (leaky) ReLU.
    """
    if activation.slopes is not None:
        return None
    if activation.negative_slope is not None:
        raise ValueError(
            f"Gauss-Hermite nodes cannot resolve the kink of {activation.name}: take relu, leaky_relu or square, which have closed forms, "
            "or a smooth activation."
        )
    return _CLOSED.get(activation.name) or partial(smooth.hermite, activation, nodes)


def family_of(activation: Activation, nodes: int) -> Family:
    """The moments of an activation.

    Args:
        activation: the activation.
        nodes: of the quadrature, where there is no closed form.

    Returns:
        A function of two sets of neurons.
    """
    expectation = kernel_of(activation, nodes)
    if expectation is None:
        return partial(rectifier, activation.negative_slope or 0.0)
    return partial(smooth.smooth, expectation)
