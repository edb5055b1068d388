"""How results and settings are printed: numbers where they are known, shapes where they are traced or large."""

import dataclasses
from collections.abc import Mapping
from html import escape
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer

FEW = 8
"""Arrays of one axis are printed number by number up to this length."""
MANY = 100_000
"""Above this size an array is printed by its shape alone: its range would have to be fetched from the device."""
COLUMNS = 110


class Words:
    """A text that stands where a number would."""

    def __init__(self, text: str):
        """A text.

        Args:
            text: what is printed.
        """
        self.text = text

    def __repr__(self) -> str:
        """The text."""
        return self.text


def is_known(x: object) -> bool:
    """Whether `x` is an array whose numbers can be read now: no tracer, no shape, not deleted, no random key."""
    if isinstance(x, Tracer) or not isinstance(x, jax.Array | np.ndarray) or jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return False
    return isinstance(x, np.ndarray) or (x.is_fully_addressable and not x.is_deleted())


def is_missing(x: Any) -> bool:
    """Whether `x` is known and consists of NaN only, which marks what there is no number for."""
    return is_known(x) and jnp.issubdtype(x.dtype, jnp.floating) and bool(np.all(np.isnan(x)))


def _number(x: Any) -> str:
    x = np.asarray(x).item()
    return f"{x:.6g}" if isinstance(x, float | complex) else str(x)


def _leaf(x: Any) -> Any:
    if not is_known(x):
        return x
    if x.ndim == 0:
        return Words(_number(x))
    if x.ndim == 1 and x.size <= FEW:
        return Words(f"[{', '.join(map(_number, np.asarray(x)))}]")
    shape = eqx.tree_pformat(jax.ShapeDtypeStruct(x.shape, x.dtype), struct_as_array=True)
    if x.size > MANY or x.size == 0 or not jnp.issubdtype(x.dtype, jnp.floating):
        return Words(shape)
    values = np.asarray(x, float)
    values = values[~np.isnan(values)]
    return Words(f"{shape} from {values.min():.3g} to {values.max():.3g}" if values.size else f"{shape} all nan")


def _in_words(tree: Any) -> Any:
    own = getattr(type(tree), "_in_words", None)
    if own is not None:
        tree = own(tree)
    return jax.tree.map(lambda x: _leaf(x) if x is tree else _nested(x), tree, is_leaf=lambda x: x is not tree and _has_words(x))


def _has_words(x: Any) -> bool:
    return hasattr(type(x), "_in_words")


def _nested(x: Any) -> Any:
    return _in_words(x) if _has_words(x) else _leaf(x)


def text_of(self: Any) -> str:
    """A pytree in words.

    Args:
        self: a module, a named tuple or any other pytree.

    Returns:
        As equinox prints it, with known numbers in place of their types: scalars and short vectors number by number, larger arrays by
        shape and range, traced ones by shape.
    """
    return eqx.tree_pformat(_in_words(self), width=COLUMNS, struct_as_array=True)


def layout(params: Any) -> str:
    """The names and shapes of some parameters.

    Args:
        params: a pytree of arrays, of tracers or of shapes.

    Returns:
        `a (4, 1), b (4,): 8 numbers`; the middle of a long list is left out.
    """
    leaves = jtu.tree_leaves_with_path(params)
    shown = [f"{jtu.keystr(path, simple=True, separator='.') or 'array'} {tuple(jnp.shape(leaf))}" for path, leaf in leaves]
    if len(shown) > FEW:
        shown = [*shown[: FEW // 2], "...", *shown[-FEW // 2 :]]
    return f"{', '.join(shown)}: {sum(int(np.prod(jnp.shape(leaf))) for _, leaf in leaves)} numbers"


def span(x: Any, digits: int = 6) -> str:
    """A number, the range of several, or the shape of a traced one.

    Args:
        x: an array.
        digits: significant ones.

    Returns:
        `0.5`, `0.5 to 2` or `f64[3]`.
    """
    if not is_known(x):
        return eqx.tree_pformat(x, struct_as_array=True)
    values = np.asarray(x)[~np.isnan(x)]
    if not values.size:
        return "nan"
    low, high = (f"{float(end):.{digits}g}" for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def table_html(title: str, rows: Mapping[str, str], text: str = "") -> str:
    """A table of two columns for notebooks, without scripts or styles of its own.

    Args:
        title: printed in bold above it.
        rows: names to values, as plain text.
        text: follows the title.

    Returns:
        HTML.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left;white-space:pre-wrap">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<div><b>{escape(title)}</b> {escape(text)}<table>{cells}</table></div>"


class Readable:
    """A mix-in for modules: prints numbers instead of types, as text and as a table in notebooks.

    A class that has better words for some of its fields overrides `_in_words`, which returns a copy of it with `Words` in their place.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """The fields with their numbers."""
        return text_of(self)

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        return fields_html(self)


def fields_html(self: Any) -> str:
    """The fields of a module as a table.

    Args:
        self: a dataclass or a named tuple.

    Returns:
        HTML.
    """
    words = _in_words(self)
    if isinstance(words, Words):
        return f"<code>{escape(repr(words))}</code>"
    if dataclasses.is_dataclass(words):
        names = [field.name for field in dataclasses.fields(words) if field.repr and getattr(self, field.name) is not field.default]
    else:
        names = list(words._fields)
    rows = {name: eqx.tree_pformat(getattr(words, name), width=COLUMNS, struct_as_array=True) for name in names}
    convention = getattr(self, "convention", None)
    if isinstance(convention, str):
        rows["convention"] = convention
    return table_html(type(self).__name__, rows)
