r"""Netlists in SPICE, for ngspice 39 or later: arrays with wires, neurons, and a DPI synapse of six transistors.

A netlist is complete: elements, options and an analysis. It runs as `ngspice -b -r out.raw FILE` and uses resistors,
capacitors, sources, switches (S) and behavioural sources (B), no code models and no device cards.

    netlist(lattice, v)            array: `.op`; the current of bit line j is i(vt<j>)
    neuron(circuit, current=...)   LIF, DPI: `.tran`; the membrane is v(m), or v(i_mem) in amperes; v(spike) rises to 1
    synapse(circuit, ...)          DPI synapse: `.tran`; its current is i(vout)
"""

import math
from collections.abc import Iterator, Sequence
from functools import singledispatch

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.circuits import DPI, LIF, Circuit
from chipsim.errors import ParameterError
from chipsim.iv import IV, CubicIV
from chipsim.wires import Lattice

Array = NDArray[np.float64]
EXACT = ".options reltol=1e-9 abstol=1e-18 vntol=1e-12 gmin=1e-18"
SHUNT = ".options rshunt=1e16"
"""What gives the nodes of broken lines a voltage."""
FASTEST = 1e-4
"""Time constant of resets and rails in netlists of neurons, over that of the membrane; resets end within ten of it."""
STEP = 2e-4
"""Longest step of these netlists, over the time constant of the membrane."""
VOLT = 1e9
"""In netlists of current-mode circuits, v(i_...) is a current in units of 1 / VOLT amperes."""


def _text(title: str, lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join([f"* {title}", *lines, ".end", ""])


def _number(value: float) -> str:
    return repr(float(value))


def _finite(name: str, value: float) -> str:
    if not math.isfinite(value):
        raise ParameterError(f"{name} must be a finite current in ampere, not {value!r}")
    return _number(value)


def _transient(duration: float, saved: str, step: float) -> Iterator[str]:
    if not (math.isfinite(duration) and duration > 0):
        raise ParameterError(f"duration must be a time above 0 s, not {duration!r}")
    yield ".options reltol=1e-5 abstol=1e-18 vntol=1e-9 chgtol=1e-20 gmin=1e-18 method=gear"
    yield f".save {saved}"
    yield f".tran {_number(step)} {_number(duration)} 0 {_number(step)} uic"


# ------------------------------------------------------------------------------------------------------ arrays


def netlist(lattice: Lattice, v: ArrayLike) -> str:
    """Return the netlist of an array whose sources hold v [rows].

    Nodes: s<i> the source of word line i, w<i>_<j> and b<i>_<j> the two of a crossing, t<j> the virtual ground of bit
    line j. Elements: rw, rb segments, rc ohmic cells, bc cells with a curve; what is open is left out.
    """
    given = np.asarray(v, dtype=np.float64)
    if given.shape != lattice.cells.shape[:1] or not np.isfinite(given).all():
        raise ParameterError(f"inputs must be {lattice.cells.shape[0]} finite voltages, not of shape {given.shape}")
    rows, columns = lattice.cells.shape
    return _text(f"{rows} x {columns} array of cells, with wires", [*_array(lattice, given), *_analysis(lattice)])


def _array(lattice: Lattice, given: Array) -> Iterator[str]:
    rows, columns = lattice.cells.shape
    for i, volts in enumerate(given):
        yield f"vs{i} s{i} 0 {_number(volts)}"
        line = [f"s{i}", *(f"w{i}_{j}" for j in range(columns)), f"s{i}"]
        yield from _segments(f"rw{i}_", line, lattice.rows[i])
    for j in range(columns):
        line = [f"t{j}", *(f"b{i}_{j}" for i in range(rows)), f"t{j}"]
        yield from _segments(f"rb{j}_", line, lattice.columns[:, j])
        yield f"vt{j} t{j} 0 0"
    for (i, j), g in np.ndenumerate(lattice.cells):
        if g == 0:
            continue
        if lattice.iv is None:
            yield f"rc{i}_{j} w{i}_{j} b{i}_{j} {_number(1 / g)}"
        else:
            yield f"bc{i}_{j} w{i}_{j} b{i}_{j} i={_curve(lattice.iv, float(g), f'v(w{i}_{j},b{i}_{j})')}"


def _segments(name: str, nodes: Sequence[str], conductances: Array) -> Iterator[str]:
    for k, g in enumerate(conductances):
        if g > 0:
            yield f"{name}{k} {nodes[k]} {nodes[k + 1]} {_number(1 / g)}"


def _analysis(lattice: Lattice) -> Iterator[str]:
    yield EXACT
    if not (lattice.rows[:, 1:-1].all() and lattice.columns[1:-1].all() and lattice.cells.all()):
        yield SHUNT
    yield ".op"


def _curve(iv: IV, g: float, v: str) -> str:
    """Current of a cell as text, of the voltage `v`."""
    if not isinstance(iv, CubicIV):
        raise ParameterError(f"a {type(iv).__name__} has no SPICE text yet; a CubicIV has")
    second, third = iv.coefficients(np.array(g))
    return f"{v}*({_number(g)}+{v}*({_number(float(second))}+{v}*{_number(float(third))}))"


# ----------------------------------------------------------------------------------------------------- neurons


@singledispatch
def neuron(circuit: Circuit, *, current: float, duration: float) -> str:
    r"""Return the netlist of one nominal neuron with a constant input current [A] for `duration` [s].

    A comparator is a switch with hysteresis, from the threshold down to the reset:

        current ─►─┬──────┬─────┬──────┐          LIF: the drive of a charge port flows through the whole step, so that
                   ┴      ╷     │      S ◄── v(m)      this is the limit of short steps
                 C ┬      R   rails    │          DPI: C dv/dt = gain current / (1 + I / I_gain) - I_tau + I_fb, the
                   ⏚   v_rest       v_reset            voltage of which the membrane is the exponential,
                                                       I = i_0 exp(kappa v / U_T), I_gain = alpha I_tau

    LIF: v(m) in volts. DPI: v(m) as above, v(i_mem) = I [A] * 1e9.
    Raises ParameterError for a circuit that has no netlist.
    """
    raise ParameterError(f"a {type(circuit).__name__} has no netlist; LIF and DPI have one")


@neuron.register
def _lif(circuit: LIF, *, current: float, duration: float) -> str:
    if circuit.soft_reset:
        raise ParameterError("a soft reset has no netlist: it takes away a charge; use soft_reset=False")
    c, fast = circuit.capacitance, FASTEST * circuit.tau / circuit.capacitance
    swing = circuit.v_threshold - circuit.v_reset
    below = circuit.v_reset - 0.05 * swing  # the switch pulls past the reset, so that it is reached and left
    lines = [
        f"iin 0 m {_finite('current', circuit.gain * current)}",
        f"cm m 0 {_number(c)}",
        f"rm m rest {_number(circuit.tau / c)}",
        f"vrest rest 0 {_number(circuit.v_rest)}",
        *_rails("m", fast, circuit.v_floor, circuit.v_ceiling),
        *_comparator(circuit.v_threshold, circuit.v_reset, below, fast),
        f".ic v(m)={_number(circuit.v_rest)}",
        *_transient(duration, "v(m) v(spike)", STEP * circuit.tau),
    ]
    return _text("leaky integrate-and-fire neuron", lines)


@neuron.register
def _dpi(circuit: DPI, *, current: float, duration: float) -> str:
    c, scale = circuit.capacitance, circuit.u_t / circuit.kappa
    fast = FASTEST * circuit.tau / c
    threshold = scale * math.log(circuit.i_threshold / circuit.leakage)
    reset = scale * math.log(max(circuit.i_reset, circuit.leakage) / circuit.leakage)
    feedback = (
        f"{_number(circuit.i_fb_gain)}/(1+exp(min(({_number(circuit.i_fb_threshold)}-v(i_mem)/{VOLT:g})"
        f"/{_number(circuit.i_fb_norm)},200)))"
    )
    gain_current = _number(circuit.alpha * circuit.i_tau * VOLT)
    lines = [
        f"bmem i_mem 0 v={_number(circuit.leakage * VOLT)}*exp(v(m)/{_number(scale)})",
        f"bin 0 m i={_finite('current', circuit.gain * current)}/(1+v(i_mem)/{gain_current})",
        f"btau m 0 i={_number(circuit.i_tau)}-{feedback}",
        f"cm m 0 {_number(c)}",
        *_rails("m", fast, 0.0, math.inf),
        *_refractory(circuit.t_refractory, threshold, reset, fast),
        ".ic v(m)=0",
        *_transient(duration, "v(m) v(i_mem) v(spike)", STEP * circuit.tau),
    ]
    return _text(f"subthreshold DPI neuron; v(i_mem) is in units of {1 / VOLT:g} A", lines)


def _rails(node: str, ohm: float, floor: float, ceiling: float) -> Iterator[str]:
    """Sources that hold a node within its rails, through a resistance."""
    if math.isfinite(floor):
        yield f"bfloor {node} 0 i={_number(1 / ohm)}*min(v({node})-{_number(floor)},0)"
    if math.isfinite(ceiling):
        yield f"bceiling {node} 0 i={_number(1 / ohm)}*max(v({node})-{_number(ceiling)},0)"


def _switch(name: str, nodes: str, control: str, on: float, off: float, ohm: float) -> Iterator[str]:
    """A switch that closes when its control rises above `on` and opens when it falls below `off`."""
    middle, half = _number((on + off) / 2), _number((on - off) / 2)
    yield f"s{name} {nodes} {control} 0 {name}"
    yield f".model {name} sw vt={middle} vh={half} ron={_number(ohm)} roff=1e16"


def _spike(on: float, off: float) -> Iterator[str]:
    yield from _switch("shown", "one spike", "m", on, off, 1.0)
    yield from ("vone one 0 1", "rspike spike 0 1e3")


def _comparator(threshold: float, reset: float, pulled_to: float, ohm: float) -> Iterator[str]:
    """A switch that pulls the membrane down through a resistance, from its threshold to its reset."""
    yield f"vreset reset 0 {_number(pulled_to)}"
    yield from _switch("fired", "m reset", "m", threshold, reset, ohm)
    yield from _spike(threshold, reset)


def _refractory(time: float, threshold: float, reset: float, ohm: float) -> Iterator[str]:
    """A comparator that holds the membrane at its reset until a capacitor has discharged by half."""
    if time == 0:
        yield from _comparator(threshold, reset, reset - 0.05 * (threshold - reset), ohm)
        return
    off, farad = (threshold + reset) / 2, 1e-12
    yield from _spike(threshold, off)
    yield from _switch("fired", "one refractory", "m", threshold, off, 1e-5 * time / farad)
    yield f"crefractory refractory 0 {farad} ic=0"
    yield f"rrefractory refractory 0 {_number(time / math.log(2) / farad)}"
    yield f"vreset reset 0 {_number(reset)}"
    yield from _switch("held", "m reset", "refractory", 0.5, 0.5, ohm)


# ----------------------------------------------------------------------------------------------------- synapses

V_DD, I_SPEC, V_EARLY = 1.8, 200e-9, 20.0
"""Supply [V], specific current [A] and Early voltage [V] of all transistors: design choices. Their threshold voltage is
that at which a gate at its source leaves them the circuit's i_0.
"""
EKV = """.subckt {name} d g s b
bd d s i={sign}*{i_s}*(pwr(ln(1+exp(min(({sign}*v(g,b)-{v_t0})/{two_n_u_t}-{sign}*v(s,b)/{two_u_t},300))),2)
+ -pwr(ln(1+exp(min(({sign}*v(g,b)-{v_t0})/{two_n_u_t}-{sign}*v(d,b)/{two_u_t},300))),2))*(1+abs(v(d,s))/{v_a})
.ends"""
"""i = I_S (F(v_p - v_s) - F(v_p - v_d)) (1 + |v_ds| / V_A), F(x) = ln(1 + exp(x / (2 U_T)))^2, v_p = (v_g - V_T0) / n,
all voltages from the bulk; in weak inversion I_S exp(v_p / U_T) (exp(-v_s / U_T) - exp(-v_d / U_T)).
"""
EDGE = 1e-7
"""Rise and fall time of a pulse [s]."""


def synapse(
    circuit: DPI, *, weight: float, pulses: Sequence[tuple[float, float]], duration: float, transistors: bool = True
) -> str:
    r"""Return the netlist of a DPI synapse with the capacitance, leak, gain and exponential law of `circuit`.

    weight: current while a pulse is on [A]. pulses: when each begins, and how long it lasts [s].
    With i the output and I_gain = alpha I_tau, both synapses are meant to be

        C dv/dt = weight / (1 + i / I_gain) - I_tau          i = i_0 exp(kappa v / U_T)          v = V_DD - v(syn)

        V_DD ──┬─────┬────────┬──────────┐            transistors=False: this equation, in behavioural sources.
             M_tau   ┴ C      │        M_syn ─► i     transistors=True: two p- and four n-channel transistors, each the
               ├─────┴─ syn ──┼──────────┘            EKV law in a behavioural source, exponential in weak inversion,
              M_in (gate syn) M_thr                   with an Early voltage; their gates are biased so that they
               └──────┬───────┘                       carry weight, I_tau and I_gain in saturation.
                     M_w                              Source: Bartolozzi and Indiveri 2007 (circuit); Enz, Krummenacher
                     M_pre ◄── pulses                 and Vittoz 1995 (law); I_S, V_A, V_DD: design choices.

    The current is i(vout). Raises ParameterError for pulses that overlap.
    """
    ends = [0.0, *(start + width for start, width in pulses)]
    starts = [start for start, _ in pulses]
    if any(width <= 4 * EDGE for _, width in pulses) or any(
        a > b - 4 * EDGE for a, b in zip(ends, starts, strict=False)
    ):
        raise ParameterError(f"pulses must be longer than {4 * EDGE:g} s, in order, apart and after the start")
    if not (math.isfinite(weight) and weight > 0):
        raise ParameterError(f"weight must be a current above 0 A, not {weight!r}")
    lines = [
        *(_transistors(circuit, weight, pulses) if transistors else _behaviour(circuit, weight, pulses)),
        *_transient(duration, "i(vout) v(syn)", 5 * STEP * circuit.tau),
    ]
    return _text(f"DPI synapse, {'transistors' if transistors else 'behavioural'}", lines)


def _pulses(pulses: Sequence[tuple[float, float]], high: float) -> str:
    """A source's waveform: 0, and `high` during pulses, whose edges are half way at their times."""
    points = [(0.0, 0.0)]
    for start, width in pulses:
        for at, level in ((start, 0.0), (start + width, high)):
            points += [(at - EDGE / 2, level), (at + EDGE / 2, high - level)]
    return f"pwl({' '.join(f'{_number(t)} {_number(v)}' for t, v in points)})"


def _behaviour(circuit: DPI, weight: float, pulses: Sequence[tuple[float, float]]) -> list[str]:
    scale, gain = _number(circuit.u_t / circuit.kappa), _number(circuit.alpha * circuit.i_tau * VOLT)
    return [
        f"vdd vdd 0 {V_DD}",
        f"vpre pre 0 {_pulses(pulses, 1.0)}",
        f"bsyn i_syn 0 v={_number(circuit.leakage * VOLT)}*exp((v(vdd)-v(syn))/{scale})",
        f"bin syn 0 i=v(pre)*{_number(weight)}/(1+v(i_syn)/{gain})",
        f"btau vdd syn i={_number(circuit.i_tau)}",
        f"cs vdd syn {_number(circuit.capacitance)} ic=0",
        f"bfloor syn 0 i={_number(circuit.capacitance / (FASTEST * circuit.tau))}*max(v(syn)-v(vdd),0)",
        f"bout vdd out i=v(i_syn)/{VOLT:g}",
        "vout out 0 0",
    ]


def _v_t0(circuit: DPI) -> float:
    return circuit.u_t / circuit.kappa * math.log(I_SPEC / circuit.leakage)


def _gate(circuit: DPI, current: float) -> float:
    """Voltage from gate to source, which is the bulk, at which a transistor carries a current in saturation [V]."""
    inverted = 2 * math.log(math.expm1(math.sqrt(current / I_SPEC)))
    return _v_t0(circuit) + inverted * circuit.u_t / circuit.kappa


def _transistors(circuit: DPI, weight: float, pulses: Sequence[tuple[float, float]]) -> list[str]:
    law = {
        "i_s": I_SPEC,
        "v_t0": _v_t0(circuit),
        "two_n_u_t": 2 * circuit.u_t / circuit.kappa,
        "two_u_t": 2 * circuit.u_t,
        "v_a": V_EARLY,
    }
    return [
        EKV.format(name="nfet", sign=1, **law),
        EKV.format(name="pfet", sign=-1, **law),
        f"vdd vdd 0 {V_DD}",
        f"vpre pre 0 {_pulses(pulses, V_DD)}",
        f"vtau tau 0 {_number(V_DD - _gate(circuit, circuit.i_tau))}",
        f"vthr thr 0 {_number(V_DD - _gate(circuit, circuit.alpha * circuit.i_tau))}",
        f"vw w 0 {_number(_gate(circuit, weight))}",
        "xtau syn tau vdd vdd pfet",
        "xin syn syn c 0 nfet",
        "xthr vdd thr c 0 nfet",
        "xw c w p 0 nfet",
        "xpre p pre 0 0 nfet",
        "xsyn out syn vdd vdd pfet",
        f"cs vdd syn {_number(circuit.capacitance)} ic=0",
        f"cc c 0 1e-16 ic={V_DD / 2}",
        "cp p 0 1e-16 ic=0",
        "vout out 0 0",
    ]
