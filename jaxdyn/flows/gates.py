"""The gates of a flow: those of its model, and those of a loss with kinks."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, PyTree


class Gates(NamedTuple):
    """The gates of a flow.

    Attributes:
        model: those of its pre-activations, shaped like these; None for a model without kinks.
        loss: those of its loss, one a sample; None for a loss without kinks.
    """

    model: PyTree | None
    loss: Float[Array, " sample"] | None


def gated_loss(
    loss: Any, f: Float[Array, " sample"], y: Float[Array, " sample"], gates: Float[Array, " sample"] | None
) -> Float[Array, ""]:
    """A loss, its own gates held where they are given."""
    return loss(f, y) if gates is None else loss.gated(f, y, gates)


def has_loss_kinks(loss: Any) -> bool:
    """Whether a loss has kinks: it offers `switches(f, y)`."""
    return getattr(loss, "switches", None) is not None
