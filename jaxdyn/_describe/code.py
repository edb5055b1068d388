"""What a piece of code does, and which names it takes from outside."""

import dis
import hashlib
import sys
import types
from functools import lru_cache
from typing import Any, NamedTuple

LEFT_OUT = ("__doc__", "__firstlineno__", "__static_attributes__", "__qualname__", "__module__")
"""What the body of a class says of itself: where it stands, not what it does."""
NOTHING = ("NOP", "EXTENDED_ARG", "CACHE", "RESUME", "PRECALL")
"""Instructions without a meaning of their own; some come and go with line breaks."""
AT_RUN_TIME = ("eval", "exec", "globals", "__import__", "compile")
"""Functions that lead to names which nobody can see beforehand."""
READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")


class Names(NamedTuple):
    """What code takes from outside.

    `chains` are global names with the attributes that are taken of them, `("helpers", "scale")`; `imports` what it imports itself: the
    level, the module, and the names from it.
    """

    chains: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    return [one for one in dis.get_instructions(code) if one.opname not in NOTHING]


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _what(value)
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


def _what(code: types.CodeType) -> list[Any]:
    """Instructions with their arguments resolved; names of local variables, line numbers and docstrings are left out."""
    kept = _instructions(code)
    offsets = [one.offset for one in kept]

    def place(offset: int) -> int:
        return sum(other < offset for other in offsets) if offset not in index else index[offset]

    index = {offset: k for k, offset in enumerate(offsets)}
    jumps = {*dis.hasjrel, *dis.hasjabs}
    found: list[Any] = []
    for one in kept:
        if one.opcode in jumps:
            argument: Any = place(one.argval)
        elif one.opcode in dis.hasconst:
            argument = _constant(code.co_consts[one.arg or 0])  # `argval` is unknown for the names of keywords
        elif one.opcode in dis.haslocal:
            argument = one.arg
        elif one.arg is None:
            argument = None
        else:
            argument = one.argrepr or one.arg
        if one.opname == "STORE_NAME" and one.argval in LEFT_OUT and found:
            found.pop()  # and what was stored there
            continue
        found.append([one.opname, argument])
    entries = getattr(dis.Bytecode(code), "exception_entries", ())
    handlers = [[place(e.start), place(e.end), place(e.target), e.depth, e.lasti] for e in entries]
    count = code.co_argcount + code.co_kwonlyargcount
    taken = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0x2AC, list(code.co_varnames[:count])]
    return [found, handlers, taken]


@lru_cache(maxsize=4096)
def code_digest(code: types.CodeType) -> str:
    """A hash of what code does.

    Equal for code that differs in comments, docstrings, line breaks or the names of local variables only. The bytecode is another one in
    another release of Python, which is therefore named.

    Args:
        code: a function's.

    Returns:
        The hash, with the release of Python.
    """
    digest = hashlib.sha256(repr(_what(code)).encode()).hexdigest()[:16]
    return f"{digest} (Python {sys.version_info.major}.{sys.version_info.minor})"


@lru_cache(maxsize=4096)
def names_of(code: types.CodeType) -> Names:
    """The names that code takes from outside, those of the functions and classes within it too.

    Args:
        code: a function's.

    Returns:
        The names, sorted. What it takes from functions around it is its closure, and not among them.
    """
    chains: set[tuple[str, ...]] = set()
    imports: set[tuple[int, str, tuple[str, ...]]] = set()
    chain: tuple[str, ...] = ()
    constants: list[Any] = [0, None]
    for one in _instructions(code):
        if one.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants = [constants[1], one.argval]
        elif one.opname == "IMPORT_NAME":
            level, names = constants
            imports.add((level if isinstance(level, int) else 0, str(one.argval), tuple(names or ())))
        if one.opname in ATTRIBUTES and chain:
            chain = (*chain, str(one.argval))
            continue
        if one.opname != "PUSH_NULL":
            chains.add(chain)
            chain = (str(one.argval),) if one.opname in READS else ()
    chains.add(chain)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = names_of(constant)
            chains.update(inner.chains)
            imports.update(inner.imports)
    return Names(tuple(sorted(chains - {()})), tuple(sorted(imports)))
