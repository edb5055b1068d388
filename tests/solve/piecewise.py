"""An independent judge for kinks: the flow of a two-layer (leaky) ReLU network, one gate pattern at a time, in scipy.

Between kinks the field is smooth, and DOP853 at rtol 1e-13 follows it to the next event: a pre-activation that changes sign against its
gate, a fraction of a sliding gate that leaves [0, 1], or a sliding surface that turns repelling. There all ways to go on are tried, each
sample on the surface being off, on or sliding (Filippov 1988, section 4), and the one that its own field bears out is taken. Nothing
here comes from the library: numpy, one network, small problems.
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

OFF, ON, SLIDES = 0, 1, 2


@dataclasses.dataclass
class Network:
    """f(x_i) = scale sum_j c_j act(w_j . x_i), and the loss sum_i l(f_i, y_i) by its derivative; a bias is a column of -1 in X.

    The inner weights of one input move `mobility` times as fast as minus the gradient, the outer ones `outer_mobility` times; `decay` is
    the weight decay.
    """

    X: np.ndarray
    y: np.ndarray
    scale: float = 1.0
    slope: float = 0.0
    derivative: Callable = lambda f, y: f - y
    mobility: np.ndarray | None = None
    outer_mobility: float = 1.0
    decay: float = 0.0

    def __post_init__(self):
        self.X, self.y = np.asarray(self.X, float), np.asarray(self.y, float)
        self.mobility = np.ones(self.X.shape[1]) if self.mobility is None else np.asarray(self.mobility, float)
        # samples that are repeated, or positive multiples of another, have one gate
        rows, self.which, self.size = [], [], []
        for x in self.X:
            sizes = [x @ row / (row @ row) for row in rows]
            same = [k for k, row in enumerate(rows) if sizes[k] > 0 and np.allclose(x, sizes[k] * row, rtol=1e-14, atol=0)]
            self.which.append(same[0] if same else len(rows))
            self.size.append(sizes[same[0]] if same else 1.0)
            rows += [] if same else [x]
        self.rows, self.size = np.asarray(rows), np.asarray(self.size)

    def residual(self, W, c, gates):
        """The loss's derivative by the output at each distinct row, summed over the samples that share it."""
        f = self.scale * (self.rows @ W.T * self.slopes(gates)) @ c
        return np.bincount(self.which, self.size * self.derivative(self.size * f[self.which], self.y), len(self.rows))

    def slopes(self, gates):
        return self.slope + (1 - self.slope) * gates

    def velocity(self, W, c, gates, slides):
        """The field with gates held fixed, those that slide being solved for; also all gates."""
        gates, R = np.where(slides, 0.0, gates), self.residual(W, c, gates)
        for j in np.flatnonzero(slides.any(axis=0)):
            S = np.flatnonzero(slides[:, j])
            fixed = self.rows.T @ np.where(slides[:, j], 0.0, self.slopes(gates[:, j]) * R)
            fixed += self.decay * W[j] / (self.scale * c[j]) if self.decay else 0.0
            moves = self.mobility * self.rows[S]
            held = -np.linalg.solve(moves @ self.rows[S].T, moves @ fixed)
            gates[S, j] = (held / R[S] - self.slope) / (1 - self.slope)
        pull = self.slopes(gates) * R[:, None]
        dW = -self.scale * c[:, None] * (pull.T @ self.rows) - self.decay * W
        dc = -self.scale * (pull * (self.rows @ W.T)).sum(0) - self.decay * c
        return self.mobility * dW, self.outer_mobility * dc, gates, R


def go_on(net: Network, W, c, gates, slides, j, near):
    """Gates and sliding samples of neuron j, whose pre-activations of the samples `near` are zero, and in how many ways it may go on.

    On a repelling surface, and where a neuron with w = 0 may leave in several ways, the solution is not unique; then the way with the
    fewest samples on is taken, as relu'(0) = 0 would.
    """
    found = []
    for choice in itertools.product((OFF, ON, SLIDES), repeat=len(near)):
        choice = np.asarray(choice)
        if (choice == SLIDES).sum() > min(net.rows.shape[1], len(net.rows)):
            continue
        g, s = gates.copy(), slides.copy()
        g[near, j], s[near, j] = choice == ON, choice == SLIDES
        try:
            dW, dc, _, _ = net.velocity(W, c, g, s)
            ahead = 1e-7 / (1 + np.abs(dW).max() + np.abs(dc).max())
            W1, c1 = W + ahead * dW, c + ahead * dc
            dW1, _, all_gates, R = net.velocity(W1, c1, g, s)
        except np.linalg.LinAlgError:
            continue
        # on the surface only the way that it takes counts; its sign there would be rounding
        rate, fraction, attracts = net.rows[near] @ dW1[j], all_gates[near, j], c1[j] * R[near] > 0
        good = np.select([choice == OFF, choice == ON], [rate <= 0, rate > 0], (fraction > 0) & (fraction < 1) & attracts)
        if good.all():
            found.append((g[:, j], s[:, j]))
    assert found, f"no way to go on for neuron {j} at samples {near}"
    return *min(found, key=lambda way: (way[0][near] > 0).sum() + way[1][near].sum()), len(found)


def overdue(net: Network, W, c, gates, slides):
    """The neurons whose gates are wrong already: an event at the very time of another's is not seen as a change of sign any more."""
    dW, _, all_gates, R = net.velocity(W, c, gates, slides)
    sign, size = np.where(gates > 0, 1.0, -1.0), 1 + np.abs(W).max(axis=1)
    alive = (gates > 0).any(axis=0) | slides.any(axis=0) | (net.slope != 0)
    gone = (sign * (net.rows @ W.T) <= 1e-13 * size) & (sign * (net.rows @ dW.T) < 0) & alive & ~slides
    gone |= slides & ((all_gates < 0) | (all_gates > 1) | (c[None, :] * R[:, None] < 0))
    return set(np.flatnonzero(gone.any(axis=0)).tolist())


def solve(net: Network, W, c, t1: float, rtol: float = 1e-13, pieces: int = 50) -> tuple[np.ndarray, np.ndarray, list]:
    """Follows the flow.

    Args:
        net: the network.
        W: its inner weights at the start, (neuron, input).
        c: its outer weights, (neuron,).
        t1: end time.
        rtol: of DOP853.
        pieces: a number of steps at least; a margin that dips below zero and returns within a step is not seen.

    Returns:
        W and c at t1, and the events: (time, neuron, distinct samples that slide from then on, in how many ways it could go on).
    """
    W, c = np.array(W, float), np.array(c, float)
    m, t, events = len(c), 0.0, []
    gates, slides = (net.rows @ W.T > 0) * 1.0, np.zeros((len(net.rows), m), bool)
    surface = lambda W, j: np.flatnonzero(np.abs(net.rows @ W[j]) <= 1e-9 * (1 + np.abs(W[j]).max()))  # noqa: E731
    due, done = [j for j in range(m) if c[j] != 0 and (net.rows @ W[j] == 0).any()], set()

    def unpack(v):
        return v[:-m].reshape(m, -1), v[-m:]

    while True:
        for j in due:
            near = surface(W, j)
            W[j] -= np.linalg.lstsq(net.rows[near], net.rows[near] @ W[j], rcond=None)[0]
            gates[:, j], slides[:, j], ways = go_on(net, W, c, gates, slides, j, near)
            events.append((t, j, tuple(np.flatnonzero(slides[:, j]).tolist()), ways))
        done.update(due)
        due = sorted(overdue(net, W, c, gates, slides) - done)
        if due:
            continue
        if t >= t1:
            return W, c, events
        fixed, moving = gates.copy(), slides.copy()

        def field(_, v, fixed=fixed, moving=moving):
            dW, dc, _, _ = net.velocity(*unpack(v), fixed, moving)
            return np.concatenate([dW.ravel(), dc])

        last = {}

        def margins(t, v, fixed=fixed, moving=moving, last=last):
            """All numbers that must stay positive, as a table (kind, sample, neuron); all events ask at the same place."""
            if last.get("t") == t and np.array_equal(last["v"], v):
                return last["table"]
            W, c = unpack(v)
            _, _, all_gates, R = net.velocity(W, c, fixed, moving)
            z = np.where(moving, 1.0, np.where(fixed > 0, 1.0, -1.0) * (net.rows @ W.T))
            if net.slope == 0:  # a neuron that is off everywhere stays so, on the surface too
                z[:, ~(fixed > 0).any(axis=0) & ~moving.any(axis=0)] = 1.0
            always = np.ones_like(z)
            table = np.stack([z, *(np.where(moving, q, always) for q in (all_gates, 1 - all_gates, c[None, :] * R[:, None]))])
            last.update(t=t, v=v.copy(), table=table)
            return table

        tests = []
        for place in np.ndindex(4, *gates.shape):
            if moving[place[1:]] == (place[0] > 0):
                event = lambda t, v, place=place, margins=margins: margins(t, v)[place]  # noqa: E731
                event.terminal, event.direction = True, -1.0
                tests.append((place, event))
        run = solve_ivp(
            field,
            (t, t1),
            np.concatenate([W.ravel(), c]),
            "DOP853",
            rtol=rtol,
            atol=1e-14,
            events=[e for _, e in tests],
            max_step=t1 / pieces,
        )
        assert run.success, run.message
        t, (W, c) = run.t[-1], unpack(run.y[:, -1].copy())
        due, done = sorted({place[2] for (place, _), times in zip(tests, run.t_events, strict=True) if len(times)}), set()
        if not due:
            t = t1
