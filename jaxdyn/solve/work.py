r"""The work of a step, counted from the program and not timed, so that the same call always takes the same solver.

XLA counts the operations of the lowered field; the rest of a `KernelExponential` step is linear algebra whose operations are known. The
unit is a floating-point operation of a matrix product; the constants say what other operations cost in it, as
`benchmarks/solvers.py --costs` fits them to times on one core.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, PyTree

from .._checks import once
from .._types import Params
from .exponential import EVALUATIONS, FEW_PARAMS, KRYLOV_MODES, MANY_OUTPUTS, STIFF_MODES, offers_stiffness

TRANSCENDENTAL = 150.0
"""An exponential, logarithm or hyperbolic tangent."""
EIGENVALUES = 20.0
"""An eigenvalue decomposition of a symmetric matrix with n rows takes so many times n^3."""
PRODUCT = 2.0
"""A product of the tangent kernel with a vector, in evaluations of the field."""
MEMORY = 4.0
"""An operation on vectors as long as the parameters, which waits for memory."""
STEP_OF_TSIT5 = 3e5
"""What a step of Tsit5 costs besides its six evaluations of the field: error estimate, controller, records."""
LOCATION = 190.0
"""And, where there are kinks, for each gate."""
STEP_OF_KERNEL = 6e6
"""And a step of `KernelExponential` besides its evaluations and its linear algebra."""
STAGES_OF_TSIT5 = 6


def operations(function: Callable[..., PyTree], *inputs: PyTree) -> float:
    """The operations of a function, in those of a matrix product.

    Args:
        function: a pure function.
        *inputs: the shapes of what it takes.

    Returns:
        A number, found by lowering the function, without compiling it. A loop counts as one turn.
    """
    dynamic, static = eqx.partition(inputs, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    lowered = jax.jit(lambda dynamic: eqx.filter(function(*eqx.combine(dynamic, static)), eqx.is_array)).lower(dynamic)
    found: Any = lowered.cost_analysis()
    return found.get("flops", 0.0) + TRANSCENDENTAL * found.get("transcendentals", 0.0)


@once
def step_ratio(flow_and_params: tuple[Any, Params]) -> float:
    """What a step of `KernelExponential` costs in steps of Tsit5.

    Args:
        flow_and_params: a flow for which both are there, and its parameters; or their shapes.

    Returns:
        The ratio of the counted operations.
    """
    flow, params = flow_and_params
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    field = operations(lambda flow, y: flow.vector_field(jnp.zeros(()), y, None), flow, params)
    explicit = STEP_OF_TSIT5 + STAGES_OF_TSIT5 * (field + 2 * STAGES_OF_TSIT5 * size) + LOCATION * _gates(flow, params)
    modes, algebra = _linear_algebra(flow, params, size, field)
    # each evaluation of the collocation is a displacement, by products with the modes and their transpose
    return (STEP_OF_KERNEL + EVALUATIONS * (field + 4 * modes * size) + algebra) / explicit


def _gates(flow: Any, params: Params) -> int:
    """How many there are, none for a smooth flow."""
    if not callable(getattr(flow, "switches", None)):
        return 0
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter_eval_shape(lambda flow, y: flow.switches(y), flow, params)))


@once
def has_constant_curvature(flow_and_params: tuple[Any, Params]) -> bool:
    """Whether the loss is a quadratic function of the outputs.

    Where it is not, as for losses of classes, its second derivative may fall with the loss, and the steps of an explicit solver grow.

    Args:
        flow_and_params: a flow and its parameters; or their shapes.

    Returns:
        Whether the program of the second derivative by the outputs does not read them; false for flows that are no loss of outputs.
    """
    flow, params = flow_and_params
    if not all(callable(getattr(flow, name, None)) for name in ("outputs", "loss_of_outputs")):
        return False
    f = eqx.filter_eval_shape(lambda flow, y: flow.outputs(y), flow, params)

    def second(flow: Any, f: Array, way: Array) -> Array:
        return jax.jvp(jax.grad(lambda f: flow.loss_of_outputs(f)), (f,), (way,))[1]

    program = eqx.filter_make_jaxpr(second)(flow, f, f)[0].jaxpr
    return not dce_jaxpr(program, [True])[1][-2]


def _linear_algebra(flow: Any, params: Params, size: int, field: float) -> tuple[int, float]:
    """How many modes the linear part has, and the operations of finding them."""
    if offers_stiffness(flow):
        modes = size if size <= FEW_PARAMS else STIFF_MODES
        return modes, modes * (PRODUCT * field + 8 * MEMORY * modes * size) + EIGENVALUES * modes**3
    outputs = eqx.filter_eval_shape(lambda flow, y: flow.outputs(y), flow, params).size
    if outputs > MANY_OUTPUTS and size > MANY_OUTPUTS:
        modes = min(KRYLOV_MODES, outputs, size)
        return modes, modes * (PRODUCT * field + 8 * MEMORY * modes * (outputs + size)) + EIGENVALUES * modes**3
    modes = min(outputs, size)
    jacobian = field * (outputs if getattr(flow, "needs_all_outputs", False) else 1)
    gram = 2 * outputs * size * modes
    return modes, jacobian + gram + 2 * modes * outputs * size + EIGENVALUES * modes**3
