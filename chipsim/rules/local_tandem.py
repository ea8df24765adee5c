"""Local Tandem Learning (Yang et al., NeurIPS 2022): each layer matches its firing rate to the teacher's.

Hidden arrays minimise L = mean over batch B and columns N of (rate - target)^2. Read-out arrays minimise the
cross-entropy of softmax(value) against the target distribution: the label, or the teacher's output. Membranes u are in
units of the unit step; sigma'(u) = 1 where |u - threshold| < gate, else 0 (the comparator).
The softmax is one circuit across the columns of the read-out; everything else stays within a column and its rows.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

from chipsim.arrays import AnyArray, namespace
from chipsim.circuits import Circuit
from chipsim.errors import ParameterError
from chipsim.quantity import whole
from chipsim.rules.base import Rule, counted, gated, readout_error, seen, softmax, stopped
from chipsim.signals import LocalSignals


@final
@dataclass(frozen=True, kw_only=True)
class LocalTandem(Rule):
    """Online form: no trace, only the last steps teach. With the spike counter c[t] and t counted from 0,

        dL/dW_ij = sum over t >= warm_up of 2 / (B N) (c_i[t] / (t+1) - target_i) / (t+1) sigma'(u_i[t]) x_j[t]

    and in a read-out array, with its running value z[t] / (t+1) as logits,

        dL/dW_ij = sum over t >= warm_up of 1 / B (softmax(z[t] / (t+1)) - target)_i / (t+1) x_j[t]

    warm_up: steps before teaching begins, below the window. State: the counter [batch, neurons].
    Source: Yang et al. 2022 (released code): T = 16, warm_up = 12.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "gate", "value", "target"})
    warm_up: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.warm_up, f"{type(self).__name__}.warm_up", 0)

    def silent(self, window: int) -> int:
        return self.warm_up

    def init(self) -> None:
        return None

    def update(self, state: AnyArray | None, signals: LocalSignals) -> tuple[AnyArray | None, AnyArray | None]:
        self._check_window(self.warm_up, signals)
        counter = counted(state, signals)
        if signals.step < self.warm_up:
            return counter, None
        elapsed, target = signals.step + 1, seen(signals.target)
        if signals.readout:
            delta = readout_error(signals, target)
        else:
            error = signals.sent(counter * (1 / elapsed) - target)
            delta = gated(signals, error * (2 / (math.prod(target.shape) * elapsed)))
        return counter, delta[None]


class History(NamedTuple):
    """What a window has shown so far, one entry per step."""

    spikes: tuple[AnyArray, ...] = ()
    gate: tuple[AnyArray, ...] = ()
    membrane: tuple[AnyArray, ...] = ()


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

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "gate", "membrane", "value", "target"})
    looks_back: ClassVar[bool] = True

    def check(self, circuit: Circuit) -> None:
        nominal = circuit.nominal()
        if getattr(circuit, "soft_reset", False) or nominal.get("v_reset", circuit.rest) != circuit.rest:
            raise ParameterError(
                f"LocalTandemOffline is the gradient through a hard reset to rest, which this {type(circuit).__name__} "
                "has not; take LocalTandem or LocalTandemTrace"
            )
        if circuit.port != "charge":
            raise ParameterError(
                f"LocalTandemOffline is the gradient of a membrane that gathers charge, which {type(circuit).__name__} "
                "does not; take LocalTandem or LocalTandemTrace"
            )

    def init(self) -> History:
        return History()

    def update(self, state: History, signals: LocalSignals) -> tuple[History, AnyArray | None]:
        last = signals.step == signals.window - 1
        if signals.readout:
            return state, _readout_signal(signals) if last else None
        history = History(
            spikes=(*state.spikes, seen(signals.spikes)),
            gate=(*state.gate, seen(signals.gate)),
            membrane=(*state.membrane, seen(signals.membrane)),
        )
        return history, self._adjoint(history, signals) if last else None

    @staticmethod
    def _adjoint(history: History, signals: LocalSignals) -> AnyArray:
        lam, share = signals.leak, _rate_error(history.spikes, signals) / signals.window
        xp, later, deltas = namespace(share), share * 0.0, []
        for spikes, gate, u in zip(*(reversed(kept) for kept in history), strict=True):
            later = xp.where(gate, share - lam * u * later, 0.0) + lam * (1 - spikes) * later
            deltas.append(later)
        return xp.stack(deltas[::-1])


@final
@dataclass(frozen=True, kw_only=True)
class LocalTandemTrace(Rule):
    """Offline input-trace form: a leaky trace per row in place of the exact eligibility per synapse.

        p_j[t] = row_leak p_j[t-1] + x_j[t]      dL/dW_ij ~ e_i / T sum_t sigma'(u_i[t]) p_j[t]

    The gradient of the rate loss with du[t]/du[t-1] := row_leak: not the exact one. The decay is the row circuit's
    own. Read-out arrays as in the offline form. State: the window so far. Source: derived from Yang et al. 2022.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "gate", "value", "target"})
    looks_back: ClassVar[bool] = True

    def rows(self, readout: bool) -> Literal["pre", "trace"]:
        return "pre" if readout else "trace"

    def init(self) -> History:
        return History()

    def update(self, state: History, signals: LocalSignals) -> tuple[History, AnyArray | None]:
        last = signals.step == signals.window - 1
        if signals.readout:
            return state, _readout_signal(signals) if last else None
        history = History(
            spikes=(*state.spikes, seen(signals.spikes)),
            gate=(*state.gate, seen(signals.gate)),
        )
        if not last:
            return history, None
        share = _rate_error(history.spikes, signals) / signals.window
        xp = namespace(share)
        return history, xp.where(xp.stack(history.gate), share, 0.0)


def _rate_error(spikes: tuple[AnyArray, ...], signals: LocalSignals) -> AnyArray:
    target = seen(signals.target)
    count = stopped(sum(spikes[1:], spikes[0]), signals)
    return (2 / math.prod(target.shape)) * signals.sent(count / signals.window - target)


def _readout_signal(signals: LocalSignals) -> AnyArray:
    target = seen(signals.target)
    error = signals.sent(softmax(seen(signals.value) / signals.window) - target)
    delta = error / (len(target) * signals.window)
    return namespace(delta).broadcast_to(delta[None], (signals.window, *delta.shape))
