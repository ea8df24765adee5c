"""Mismatch as silicon does it: of process quantities of each circuit block, by lot, die, place and device."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Array, Draw, Effect, Frozen, Seen
from chipsim.errors import ParameterError
from chipsim.quantity import declarations, quantity, whole
from chipsim.streams import stream

UNVERIFIED = "recalled for 180 nm, not verified"
FITTED = "fit to our statistics of the DYNAP-SE arrays published with Büchel et al. 2021"
CELLS = "cell_gain"
FIELD = ("threshold", "reset", "gain")
"""Kinds whose currents see gradient and edges. Voltages are differences of neighbours, and measured time constants show
neither.
"""


class Block(NamedTuple):
    """A transistor or capacitor of a neuron that draws for itself.

    kind: the role or field that names its frozen arrays. field: what it moves. sign: 1 where it is a current, -1 where
    a current sets a time, 0 where there is none. area [m2] and current [A] of the transistor; plates: area of the
    capacitor [m2], 0 for none.
    """

    kind: str
    field: str
    unit: str
    sign: int
    area: float
    current: float
    plates: float = 0.0


@final
@dataclass(frozen=True, kw_only=True)
class SiliconMismatch(Effect):
    r"""Frozen mismatch of threshold voltage V_T, current factor beta and capacitance C of circuit blocks:

        sigma(V_T) = a_vt / sqrt(2 W L)   sigma(beta) / beta = a_beta / sqrt(2 W L)  sigma(C) / C = a_c / sqrt(2 area)
        d ln I = -(g_m / I) dV_T + d ln beta         g_m / I = (kappa / u_t) 2 / (1 + sqrt(1 + 4 I / i_spec))   (EKV)

    so that currents vary most in weak inversion, at small settings. a_vt, a_beta and a_c are those of the difference of
    two like ones side by side, as foundries state them; a single one has 1 / sqrt(2) of it. By the unit of a neuron's
    parameter:

        A            factor exp(d ln I) at its nominal value: threshold and reset by role, else a bias transistor
        gain         factor exp(d ln I) of the weight's transistor at i_weight
        F            factor exp(d ln C)
        s            factor exp(d ln C - d ln I) at i_bias
        V            threshold and reset by role: an offset of standard deviation a_vt / sqrt(W L), that of the
                     comparator's input pair

    Every parameter that each neuron has a value of (`Circuit.per_neuron`) is a block of its own; those of synapses,
    adaptation and feedback are nominal. Its factors are log-normal of mean 1 and CV sqrt(exp(s^2) - 1), s the
    standard deviation of the logarithm. On top, of currents alone:

        lot, die     V_T is lot_sigma N + die_sigma N off: the first drawn by the number `lot`, the second by the die
        gradient     threshold, reset and gain rise linearly across a core by gradient / sqrt(2) N along its rows and
                     as much along its columns: of random direction, and of size `gradient` in the root mean square
        edges        they are edge_columns (edge_rows) times as large in a core's outermost columns (rows)
        outliers     a share of gains is multiplied, of bias currents divided, by a factor of outlier_low to
                     outlier_high, uniform in its logarithm

    Neurons stand row by row in cores of core_rows x core_columns, all of which see the same gradient and edges.
    With transistor_cells, cells are transistors of area_weight that carry v_read g: a read sees exp(d ln I) g, of mean
    1 at each g. scale multiplies all deviations (logarithms and volts); 0 is off. U_T, kappa and i_spec do not vary.

    Source: Pelgrom et al. 1989 (area law), Enz et al. 1995 (EKV), from memory; sizes as marked.

    >>> round(SiliconMismatch().coefficient_of_variation(area=1e-12, current=0.0), 3)
    0.107
    """

    name: ClassVar[str] = "silicon_mismatch"

    scale: float = quantity(1.0, "1", (0.0, 10.0))
    """Overall factor on every deviation."""
    a_vt: float = quantity(5e-9, "V m", (0.0, 1e-7), UNVERIFIED)
    a_beta: float = quantity(1e-8, "m", (0.0, 1e-6), UNVERIFIED)
    a_c: float = quantity(1e-8, "m", (0.0, 1e-6), "assumed as large as a_beta, not verified")
    area_threshold: float = quantity(1e-12, "m2", (1e-16, 1e-6))
    """Gate area of the threshold's transistor, or of each of the comparator's input pair."""
    area_reset: float = quantity(1e-12, "m2", (1e-16, 1e-6))
    area_weight: float = quantity(1e-12, "m2", (1e-16, 1e-6))
    """Gate area of the transistor that sets a column's gain, and of cells that are transistors."""
    area_bias: float = quantity(4e-12, "m2", (1e-16, 1e-6))
    """Gate area of all other transistors: of leaks and times."""
    area_capacitor: float = quantity(2e-9, "m2", (1e-16, 1e-3))
    """About 2 pF at 1 fF per square micrometre."""
    i_spec: float = quantity(100e-9, "A", (1e-12, 1e-3), "order of a 180 nm transistor, not verified")
    """Specific current: moderate inversion lies around it."""
    i_weight: float = quantity(1e-9, "A", (0.0, 1.0))
    """Setting of the weights: the nominal current of the transistor that sets a column's gain."""
    i_bias: float = quantity(5e-12, "A", (0.0, 1.0))
    """Nominal current behind a time that is a parameter itself."""
    kappa: float = quantity(0.75, "1", (0.3, 1.0), "dynapse-simulator, SE1")
    u_t: float = quantity(25e-3, "V", (15e-3, 40e-3), "dynapse-simulator, SE1")
    core_rows: int = 16
    core_columns: int = 16
    gradient: float = quantity(0.05, "1", (0.0, 2.0))
    edge_columns: float = quantity(1.0, "1", (0.1, 10.0))
    edge_rows: float = quantity(1.0, "1", (0.1, 10.0))
    outliers_weight: float = quantity(0.0, "1", (0.0, 1.0))
    outliers_bias: float = quantity(0.0, "1", (0.0, 1.0))
    outlier_low: float = quantity(1.4, "1", (1.0, 100.0), FITTED)
    outlier_high: float = quantity(2.5, "1", (1.0, 100.0), FITTED)
    lot: int = 0
    lot_sigma: float = quantity(5e-3, "V", (0.0, 0.2))
    """Spread of V_T from lot to lot that a bias generator leaves."""
    die_sigma: float = quantity(2e-3, "V", (0.0, 0.2))
    """Spread of V_T from die to die that a bias generator leaves."""
    transistor_cells: bool = False
    """Whether the cells are transistors; memory devices bring a variation of their own."""
    v_read: float = quantity(0.2, "V", (1e-6, 10.0))
    """Voltage over a cell that is a transistor, as the design's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("core_rows", 1), ("core_columns", 1), ("lot", 0)):
            whole(getattr(self, name), f"SiliconMismatch.{name}", least)
        if not self.outlier_low <= self.outlier_high:
            raise ParameterError(
                f"SiliconMismatch.outlier_low = {self.outlier_low:g} must not lie above "
                f"outlier_high = {self.outlier_high:g}; give the smaller factor as outlier_low"
            )

    @property
    def strength(self) -> float:
        return self.scale

    def blocks(self, circuit: Circuit) -> tuple[Block, ...]:
        """Return what varies in each neuron of a circuit."""
        roles = {field: role for role, field in circuit.roles.items()}
        areas = {"threshold": self.area_threshold, "reset": self.area_reset}
        found = []
        for name, nominal in circuit.nominal().items():
            unit, role = declarations(circuit)[name].unit, roles.get(name, name)
            if role == "gain":
                found.append(Block(role, name, "1", 1, self.area_weight, self.i_weight))
            elif unit == "A":
                found.append(Block(role, name, unit, 1, areas.get(role, self.area_bias), nominal))
            elif unit == "F":
                found.append(Block(role, name, unit, 0, math.inf, 0.0, self.area_capacitor))
            elif unit == "s":
                found.append(Block(role, name, unit, -1, self.area_bias, self.i_bias, self.area_capacitor))
            elif unit == "V" and role in areas:
                found.append(Block(f"{role}_offset", name, unit, 1, areas[role], 0.0))
        return tuple(found)

    def transconductance(self, current: Any) -> Any:
        """g_m / I [1/V] of a transistor that carries `current` [A]: a number or an array."""
        return self.kappa / self.u_t * 2 / (1 + (1 + 4 * current / self.i_spec) ** 0.5)

    def coefficient_of_variation(self, *, area: float, current: float) -> float:
        """CV of the current of transistors of a gate area [m2], by local mismatch alone."""
        return _cv(self._log_deviation(Block("", "", "A", 1, area, current)))

    def _log_deviation(self, block: Block) -> float:
        """Standard deviation of the logarithm of a block's factor."""
        v_t, beta, c = self._deviations(block)
        return math.hypot(self.transconductance(block.current) * v_t * block.sign, beta * block.sign, c)

    def _deviations(self, block: Block) -> tuple[float, float, float]:
        """Standard deviations of V_T [V], ln beta and ln C: of one alone, or of the difference of a pair, at inputs."""
        root = math.sqrt(block.area if block.unit == "V" else 2 * block.area)
        c = self.a_c / math.sqrt(2 * block.plates) if block.plates else 0.0
        return self.scale * self.a_vt / root, self.scale * self.a_beta / root, self.scale * c

    def _outlier_share(self, block: Block) -> float:
        if block.kind == "gain":
            return self.outliers_weight
        return self.outliers_bias if block.kind not in FIELD and block.unit in ("A", "s") else 0.0

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        frozen: dict[str, Array] = {}
        for block in self.blocks(circuit):
            frozen[block.kind] = self._local(block, count, draw)
            if share := self._outlier_share(block):
                frozen[f"{block.kind}_outlier"] = self._outliers(block, share, count, draw)
        if any(block.kind in FIELD for block in self.blocks(circuit)):
            frozen["field"] = self._field(count, draw)
        shift = self.lot_sigma * stream(self.lot, "lot", self.name, "v_t").standard_normal()
        shift += self.die_sigma * draw.die("v_t").standard_normal()
        frozen["shift"] = np.full(count, self.scale * shift)
        return frozen

    def _local(self, block: Block, count: int, draw: Draw) -> Array:
        """Offsets [V], or factors of mean 1, each [count]."""
        v_t, beta, c = self._deviations(block)
        moved: Array = v_t * draw(f"{block.kind}_v_t").standard_normal(count)
        if block.unit == "V":
            return moved
        d = beta * draw(f"{block.kind}_beta").standard_normal(count) - self.transconductance(block.current) * moved
        d = block.sign * d + c * draw(f"{block.kind}_c").standard_normal(count)
        factors: Array = np.exp(d - self._log_deviation(block) ** 2 / 2)
        return factors

    def _outliers(self, block: Block, share: float, count: int, draw: Draw) -> Array:
        rng = draw(f"{block.kind}_outlier")
        out, place = rng.random(count) < share, rng.random(count)
        logarithm = math.log(self.outlier_low) + place * math.log(self.outlier_high / self.outlier_low)
        factors: Array = np.exp(np.where(out, self.scale * logarithm, 0.0))
        return factors

    def _field(self, count: int, draw: Draw) -> Array:
        """Factors [count] of gradient and edges."""
        place = np.arange(count) % (self.core_rows * self.core_columns)
        places = (place // self.core_columns, place % self.core_columns)
        rises = self.gradient / math.sqrt(2) * draw.die("gradient").standard_normal(2)
        d: Array = np.zeros(count)
        sides = (self.core_rows, self.core_columns)
        for at, size, rise, edge in zip(places, sides, rises, (self.edge_rows, self.edge_columns), strict=True):
            d += rise * (at / max(size - 1, 1) - 0.5 * (size > 1))
            d += np.where((at == 0) | (at == size - 1), math.log(edge), 0.0)
        factors: Array = np.exp(self.scale * d)
        return factors

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        if not self.transistor_cells:
            return {}
        v_t, beta, _ = self._deviations(self._cell(0.0))
        return {
            f"{CELLS}_v_t": v_t * draw(f"{CELLS}_v_t").standard_normal((2, *shape)),
            f"{CELLS}_beta": beta * draw(f"{CELLS}_beta").standard_normal((2, *shape)),
        }

    def _cell(self, current: float) -> Block:
        return Block(CELLS, "", "A", 1, self.area_weight, current)

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        changed = dict(values)
        for block in self.blocks(circuit):
            if block.unit == "V":
                changed[block.field] = changed[block.field] + frozen[block.kind]
                continue
            shift = np.exp(-block.sign * self.transconductance(block.current) * frozen["shift"])
            factor = frozen[block.kind] * shift
            if block.kind in FIELD:
                factor = factor * frozen["field"]
            if (outlier := frozen.get(f"{block.kind}_outlier")) is not None:
                starved = block.unit == "A"
                factor = factor / outlier if starved else factor * outlier
            changed[block.field] = changed[block.field] * factor
        return changed

    def read(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        return g * self._cell_factor(g, frozen) if f"{CELLS}_v_t" in frozen else g

    def _cell_factor(self, g: Any, frozen: Mapping[str, AnyArray]) -> AnyArray:
        """Factors on cells at nominal conductances `g`, an array or a number for all."""
        slope = self.transconductance(self.v_read * g)
        v_t, beta, _ = self._deviations(self._cell(0.0))
        d = frozen[f"{CELLS}_beta"] - slope * frozen[f"{CELLS}_v_t"] - ((slope * v_t) ** 2 + beta**2) / 2
        return namespace(d).exp(d)

    def measure(self, seen: Seen) -> dict[str, float]:
        """Root mean square deviations of each part, and shares of outliers; what came to exactly 0 is left out."""
        factors = [{CELLS: self._cell_factor(seen.g_max, frozen).ravel()} for frozen in seen.cells if frozen]
        found: dict[str, list[Array]] = {}
        for frozen in (*seen.neurons, *factors):
            for kind, values in frozen.items():
                found.setdefault(kind, []).append(values)
        found.pop("shift", None)
        sizes = {_part(kind): _size(kind, np.concatenate(values)) for kind, values in found.items()}
        return {part: size for part, size in sizes.items() if size > 0}

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        if part == _part("field"):
            return self.scale * self._field_size()
        cell = self._cell(self.v_read * device.g_max)
        for block in (*self.blocks(circuit), cell):
            if part == _part(f"{block.kind}_outlier"):
                return self._outlier_share(block)
            if part == _part(block.kind):
                return self._deviations(block)[0] if block.unit == "V" else _cv(self._log_deviation(block))
        raise ParameterError(f"SiliconMismatch measures no {part!r} of {type(circuit).__name__}")

    def _field_size(self) -> float:
        """Root mean square of the logarithm of gradient and edges, over dies and places."""
        square = 0.0
        for size, edge in ((self.core_rows, self.edge_rows), (self.core_columns, self.edge_columns)):
            place = np.linspace(-0.5, 0.5, size) if size > 1 else np.zeros(1)
            square += self.gradient**2 / 2 * float(np.mean(place**2)) + min(2 / size, 1.0) * math.log(edge) ** 2
        both = min(2 / self.core_rows, 1.0) * min(2 / self.core_columns, 1.0)
        return math.sqrt(square + 2 * both * math.log(self.edge_rows) * math.log(self.edge_columns))


def _cv(deviation: float) -> float:
    """CV of log-normal factors whose logarithm has this standard deviation."""
    return math.sqrt(math.expm1(deviation**2))


def _part(kind: str) -> str:
    """What the effect report calls the size of a frozen array."""
    if kind.endswith("_outlier"):
        return f"{kind}s, share"
    return f"{kind} [V]" if kind.endswith("_offset") else "gradient and edges" if kind == "field" else f"{kind} CV"


def _size(kind: str, values: Array) -> float:
    if kind.endswith("_outlier"):
        return float(np.mean(values != 1))
    deviation = np.log(values) if kind == "field" else values - (not kind.endswith("_offset"))
    return float(np.sqrt(np.mean(deviation**2)))


DYNAP_SE2_DIE = SiliconMismatch(
    area_threshold=0.5e-12,
    area_reset=0.5e-12,
    area_weight=0.0275e-12,
    area_bias=1.75e-12,
    area_capacitor=1e-9,
    i_weight=2.8e-6,
    gradient=0.15,
    edge_columns=0.96,
    outliers_bias=0.014,
)
"""A DYNAP-SE2-like die: areas, gradient, edges and outliers so that it shows the spread of slow weights and of membrane
time constants that was measured on one core of a DYNAP-SE. The areas are those of one transistor that
would do what a whole branch does, not read from a layout. i_weight is that of a peak of 21 mV, by PEAK_AT_I_SPEC.
"""
DYNAP_SE2_FAST = dataclasses.replace(DYNAP_SE2_DIE, outliers_weight=0.22)
"""The same with the outliers of its fast synapses."""
PEAK_AT_I_SPEC = 0.75e-3
"""Peak of the membrane [V] at which the weights of DYNAP_SE2_DIE carry i_spec, if peaks grow with the current: a fit to
the measured CV at 3, 21 and 79 mV.
"""
