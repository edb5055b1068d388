"""An independent judge for any piecewise smooth flow: one gate pattern at a time in scipy, sliding by solving for the gates.

The flow is given in numpy: `switches(v, gates)` and `field(v, gates)`, both polynomials of v with gates fixed. Rates of switches are
complex steps, the gates of a slide are found from the rates by Newton's method, and a slide ends where the field of one side ceases to
push back. Nothing is assumed of the directions in which the field jumps.
"""

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

STEP = 1e-30


def solve(switches: Callable, field: Callable, v: np.ndarray, size: int, t1: float, rtol: float = 1e-12) -> tuple[np.ndarray, int]:
    """Follows the flow from v to t1.

    Args:
        switches: numbers whose signs are the gates, given v and gates.
        field: the velocity, given v and gates.
        v: the start.
        size: number of switches.
        t1: end time.
        rtol: of DOP853.

    Returns:
        v at t1, and the number of kinks.
    """
    v, t, kinks = np.array(v, float), 0.0, 0
    gates = np.ones(size)
    for _ in range(size):  # the switches of deep layers depend on the gates before them
        gates = np.where(switches(v, gates) > 0, 1.0, 0.0)
    slides: list[int] = []

    def rates(v, gates):
        return switches(v + 1j * STEP * field(v, gates), gates).imag / STEP

    def solved(v, gates, slides):
        """Gates at which all sliding switches have rate zero."""
        gates = gates.copy()
        for _ in range(30):
            if not slides:
                break
            off = rates(v, gates)[slides]
            matrix = np.empty((len(slides), len(slides)))
            for column, k in enumerate(slides):
                moved = gates.copy()
                moved[k] += 1e-3
                matrix[:, column] = (rates(v, moved)[slides] - off) / 1e-3
            change = np.linalg.solve(matrix, -off)
            gates[slides] += change
            if np.abs(change).max() < 1e-14:
                break
        return gates

    while t < t1:
        fixed, held = gates.copy(), list(slides)
        last = {"gates": fixed}

        def flow(_, v, fixed=fixed, held=held, last=last):
            last["gates"] = solved(v, last["gates"] if held else fixed, held)
            return field(v, last["gates"])

        def event_of(k, kind, fixed=fixed, held=held, last=last):
            def event(_, at):
                if kind == "sign":
                    return (1.0 if fixed[k] > 0.5 else -1.0) * switches(at, last["gates"] if held else fixed)[k] + 1e-13
                trial = last["gates"].copy()
                trial[k] = 0.0 if kind == "low" else 1.0
                rate = rates(at, solved(at, trial, [other for other in held if other != k]))[k]
                return rate if kind == "low" else -rate

            event.terminal, event.direction = True, -1.0
            return event

        tests = [(k, "sign") for k in range(fixed.size) if k not in held] + [(k, kind) for k in held for kind in ("low", "high")]
        run = solve_ivp(flow, (t, t1), v, "DOP853", rtol=rtol, atol=1e-14, events=[event_of(*test) for test in tests], max_step=t1 / 20)
        assert run.success, run.message
        t, v = run.t[-1], run.y[:, -1].copy()
        due = [test for test, times in zip(tests, run.t_events, strict=True) if len(times)]
        if not due:
            break
        gates = solved(v, last["gates"], held)
        for k, kind in due:
            kinks += 1
            if kind != "sign":
                slides.remove(k)
                gates[k] = 0.0 if kind == "low" else 1.0
                continue
            ends = []
            for value in (0.0, 1.0):
                trial = gates.copy()
                trial[k] = value
                ends.append(rates(v, solved(v, trial, slides))[k])
            if ends[0] > 0 > ends[1]:
                slides.append(k)
                gates[k] = ends[0] / (ends[0] - ends[1])
                gates = solved(v, gates, slides)
            else:
                gates[k] = 1 - round(gates[k])
    return v, kinks
