"""Local Tandem Learning (Yang et al., NeurIPS 2022): each layer matches its firing rate to the teacher's.

Hidden arrays minimise L = mean over batch B and columns N of (rate - target)^2. Read-out arrays minimise the
cross-entropy of softmax(value) against the target distribution: the label, or the teacher's output. Membranes u are in
units of the unit step; sigma'(u) = 1 where |u - threshold| < gate, else 0 (the comparator).
The softmax is one circuit across the columns of the read-out; everything else stays within a column and its rows.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from chipsim.circuits import Circuit
from chipsim.errors import ParameterError
from chipsim.rules.base import Rule
from chipsim.signals import LocalSignals

Array = NDArray[np.float64]


def softmax(values: Array) -> Array:
    """Softmax over the columns."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def outer(pre: Array, delta: Array) -> Array:
    """Sum over the batch of pre_j delta_i, as [rows, columns]."""
    product: Array = pre.T @ delta
    return product


@final
@dataclass(frozen=True, kw_only=True)
class LocalTandem(Rule):
    """Online form: no trace, only the last steps teach. With the spike counter c[t] and t counted from 0,

        dL/dW_ij = sum over t >= warm_up of 2 / (B N) (c_i[t] / (t+1) - target_i) / (t+1) sigma'(u_i[t]) x_j[t]

    and in a read-out array, with its running value z[t] / (t+1) as logits,

        dL/dW_ij = sum over t >= warm_up of 1 / B (softmax(z[t] / (t+1)) - target)_i / (t+1) x_j[t]

    warm_up: steps before teaching begins, below the window. State: the counter [batch, columns].
    Source: Yang et al. 2022 (released code): T = 16, warm_up = 12.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"pre", "spikes", "gate", "value", "target"})
    warm_up: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.warm_up, bool) or not isinstance(self.warm_up, int) or self.warm_up < 0:
            raise ParameterError(
                f"LocalTandem.warm_up must be a whole number of steps of at least 0, not {self.warm_up!r}"
            )

    def init(self, batch: int, rows: int, columns: int) -> Array:
        return np.zeros((batch, columns))

    def update(self, state: Array, signals: LocalSignals) -> tuple[Array, Array | None]:
        if self.warm_up >= signals.window:
            raise ParameterError(
                f"LocalTandem.warm_up = {self.warm_up} leaves no step to teach in a window of {signals.window}"
            )
        counter = state if signals.readout else state + _seen(signals.spikes)
        if signals.step < self.warm_up:
            return counter, None
        elapsed, target = signals.step + 1, _seen(signals.target)
        if signals.readout:
            delta = (softmax(_seen(signals.value) / elapsed) - target) / (len(target) * elapsed)
        else:
            delta = 2 / target.size * (counter / elapsed - target) / elapsed * _seen(signals.gate)
        return counter, outer(_seen(signals.pre), delta)


class History(NamedTuple):
    """What a window has shown so far, one entry per step."""

    pre: tuple[Array, ...] = ()
    spikes: tuple[Array, ...] = ()
    gate: tuple[Array, ...] = ()
    membrane: tuple[Array, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class LocalTandemOffline(Rule):
    """Offline exact form: the gradient of the rate loss through the whole window inside the array, reset included.

        r_i = (1/T) sum_t s_i[t]      e_i = 2 / (B N) (r_i - target_i)
        d_i[t] = sigma'(u_i[t]) (e_i / T - lam u_i[t] d_i[t+1]) + lam (1 - s_i[t]) d_i[t+1]
        dL/dW_ij = sum_t d_i[t] x_j[t]

    A circuit would hold the equal forward eligibility; the adjoint d is how it is simulated. Read-out arrays take the
    cross-entropy of the window's mean value. It holds for a hard reset to rest; other circuits raise ParameterError.
    State: the window so far. Source: derived from Yang et al. 2022.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"pre", "spikes", "gate", "membrane", "value", "target"})

    def check(self, circuit: Circuit) -> None:
        nominal = circuit.nominal()
        if getattr(circuit, "soft_reset", False) or nominal.get("v_reset", circuit.v_rest) != circuit.v_rest:
            raise ParameterError(
                f"LocalTandemOffline is the gradient through a hard reset to rest, which this {type(circuit).__name__} "
                "has not; take LocalTandem or LocalTandemTrace"
            )

    def init(self, batch: int, rows: int, columns: int) -> History:
        return History()

    def update(self, state: History, signals: LocalSignals) -> tuple[History, Array | None]:
        pre = (*state.pre, _seen(signals.pre))
        last = signals.step == signals.window - 1
        if signals.readout:
            return History(pre=pre), _readout_gradient(pre, signals) if last else None
        history = History(
            pre=pre,
            spikes=(*state.spikes, _seen(signals.spikes)),
            gate=(*state.gate, _seen(signals.gate)),
            membrane=(*state.membrane, _seen(signals.membrane)),
        )
        return history, self._gradient(history, signals) if last else None

    @staticmethod
    def _gradient(history: History, signals: LocalSignals) -> Array:
        lam, share = signals.leak, _rate_error(history.spikes, signals) / signals.window
        later = np.zeros_like(share)
        deltas: list[Array] = []
        for spikes, gate, u in zip(
            *(reversed(h) for h in (history.spikes, history.gate, history.membrane)), strict=True
        ):
            later = gate * (share - lam * u * later) + lam * (1 - spikes) * later
            deltas.append(later)
        return _summed(history.pre, deltas[::-1])


@final
@dataclass(frozen=True, kw_only=True)
class LocalTandemTrace(Rule):
    """Offline input-trace form: a leaky trace per row in place of the exact eligibility per synapse.

        p_j[t] = row_leak p_j[t-1] + x_j[t]      dL/dW_ij ~ e_i / T sum_t sigma'(u_i[t]) p_j[t]

    The gradient of the rate loss with du[t]/du[t-1] := row_leak: not the exact one. The decay is the row circuit's
    own. Read-out arrays as in the offline form. State: (trace, window so far). Source: derived from Yang et al. 2022.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"pre", "spikes", "gate", "value", "target"})

    def init(self, batch: int, rows: int, columns: int) -> tuple[Array, History]:
        return np.zeros((batch, rows)), History()

    def update(self, state: tuple[Array, History], signals: LocalSignals) -> tuple[tuple[Array, History], Array | None]:
        trace, history = state
        last = signals.step == signals.window - 1
        if signals.readout:
            history = History(pre=(*history.pre, _seen(signals.pre)))
            return (trace, history), _readout_gradient(history.pre, signals) if last else None
        trace = signals.row_leak * trace + _seen(signals.pre)
        history = History(
            pre=(*history.pre, trace),
            spikes=(*history.spikes, _seen(signals.spikes)),
            gate=(*history.gate, _seen(signals.gate)),
        )
        if not last:
            return (trace, history), None
        share = _rate_error(history.spikes, signals) / signals.window
        return (trace, history), _summed(history.pre, [share * gate for gate in history.gate])


def _seen(signal: Array | None) -> Array:
    if signal is None:
        raise ParameterError("a rule read a signal that it does not declare in `reads`")
    return signal


def _rate_error(spikes: tuple[Array, ...], signals: LocalSignals) -> Array:
    target = _seen(signals.target)
    error: Array = 2 / target.size * (sum(spikes[1:], spikes[0]) / signals.window - target)
    return error


def _readout_gradient(pre: tuple[Array, ...], signals: LocalSignals) -> Array:
    target = _seen(signals.target)
    delta = (softmax(_seen(signals.value) / signals.window) - target) / (len(target) * signals.window)
    return _summed(pre, [delta] * len(pre))


def _summed(pre: tuple[Array, ...], deltas: list[Array]) -> Array:
    """Sum over steps of pre[t]^T delta[t]; one product where one of the two factors is the same in every step."""
    if all(array is pre[0] for array in pre):
        return outer(pre[0], sum(deltas[1:], deltas[0]))
    if all(delta is deltas[0] for delta in deltas):
        return outer(sum(pre[1:], pre[0]), deltas[0])
    return outer(np.concatenate(pre), np.concatenate(deltas))
