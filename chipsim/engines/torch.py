"""The fast engine: the circuits' text as tensor functions, chunks of steps at a time, stage after stage.

Feed-forward stages need not wait for each other step by step: within a chunk of K steps each stage makes one product
[K batch, rows] x [rows, columns] and then one scan of its circuits over the K steps, its state carried to the next
chunk. The scan is a loop of the lowered text, which torch.compile fuses into one pass where that pays.
"""

import contextlib
import ctypes
import functools
import logging
import math
import operator
import os
import shutil
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from chipsim.effects import Errors
from chipsim.engines.base import Array, Engine, F, OnWindow, Stage, StageState, Watch, Window, codes, gridded
from chipsim.engines.lowering import ELAPSED, FOREVER, Lowered, lower
from chipsim.errors import ParameterError
from chipsim.streams import FIRST, GAMMA, SECOND, White, sample_keys
from chipsim.wiring import Wiring

log = logging.getLogger("chipsim")

DTYPES = {"float32": torch.float32, "float64": torch.float64, "mixed": torch.float32}
CHUNK, CHUNK_BYTES = 16, 8e6
"""Steps of a chunk at most, and bytes of a bank's spikes from which on it is shorter (4 steps at least): larger arrays
come fresh from the system each time, which costs more than the steps.
"""
CHUNK_WORK = 128
"""Operations per neuron in a chunk at most: a longer fused loop keeps more values than there are registers."""
CHEAP = (operator.add, operator.sub, operator.mul, operator.gt, operator.lt, operator.ge, operator.le, operator.and_,
         operator.neg, torch.where, torch.clamp_min, torch.clamp_max)  # fmt: skip
NODE_SECONDS = 4e-10
"""What an operation on one neuron costs in one step when it is not compiled, about."""
NORMAL_SECONDS = 2e-8
COMPILE_SECONDS = 30.0
SMALL = 1 << 14
"""Neuron-steps in a chunk from which on compiling makes a difference."""


@final
@dataclass(frozen=True, kw_only=True)
class Torch(Engine):
    """PyTorch engine: the same text as in the Brian2 engine, lowered to tensors.

    dtype: "float32", "float64", or "mixed": float32, but products of bfloat16, whose 8 bits hold spikes exactly and
    round weights and sums by 0.4 % at most; a gain on processors that multiply those, while others multiply what was
    rounded in float32. device: "cpu", "cuda"; the GPU by default where there is one. compile: whether scans are
    compiled, which takes some seconds for each kind of stage; by default once the work of this process has been worth
    it. memory: bytes that the arrays of one chunk of steps may take, weights apart; it sets the steps per chunk.
    On Linux the process keeps memory that large arrays give back, for the next ones: see `keep_memory`. Raises
    ParameterError for a dtype, device or budget that cannot be.
    """

    dtype: str = "float32"
    device: str = field(default_factory=lambda: "cuda" if torch.cuda.is_available() else "cpu")
    compile: bool | None = None
    memory: float = 2e9

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ParameterError(f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ParameterError(f"device {self.device!r} cannot be used: {str(error).splitlines()[0]}") from error
        if not self.memory > 0:
            raise ParameterError(f"memory must be above 0 bytes, not {self.memory:g}")

    def array(self, values: NDArray[np.floating]) -> Tensor:
        rows_first = np.ascontiguousarray(values)  # or every later operation on weights goes against their grain
        return torch.tensor(rows_first, dtype=DTYPES[self.dtype], device=self.device)

    @property
    def factors(self) -> torch.dtype:
        """Dtype of what products multiply."""
        return torch.bfloat16 if self.dtype == "mixed" else DTYPES[self.dtype]

    def scalar(self, value: float) -> Tensor:
        return torch.as_tensor(value, dtype=DTYPES[self.dtype], device=self.device)

    def fused(self, function: F, seconds: float) -> F:
        return _compiled(function) if self.compiles(function.__name__, seconds) else function

    def compiles(self, what: str, seconds: float) -> bool:
        """Return whether to compile what takes `seconds` without: on request, or once that much was to do."""
        _spent[0] += seconds
        wanted = self.compile if self.compile is not None else _spent[0] > COMPILE_SECONDS
        if wanted and not compiler_found(self.device):
            log.warning("no C++ compiler was found: the fast engine runs without torch.compile")
            return False
        how = "compiled" if wanted else "eager"
        log.info("%s %s: about %.1f s of work without compiling, %.1f s so far", how, what, seconds, _spent[0])
        return wanted

    @torch.no_grad()
    def outer(self, stage: Stage, inputs: Tensor, bias: Sequence[float], delta: Tensor, *, held: bool) -> Tensor:
        wiring, chips = stage.geometry, stage.chips
        steps, batch, neurons = delta.shape
        by_column = delta.reshape(steps, chips, batch // chips, wiring.columns, -1).sum((2, 4))
        drive = torch.tensor(bias, dtype=delta.dtype, device=delta.device)
        rows = torch.einsum("k,kcn->cn", drive, by_column)[:, None].expand(-1, stage.bias_rows, -1)
        if held:
            inputs, delta = inputs[:1], delta.sum(0, keepdim=True)
        driven = _multiplied(_driven(wiring, inputs.to(self.factors)))
        delta = _multiplied(delta.to(self.factors))
        if chips > 1:
            found = _by_chip(driven, chips).mT @ _by_chip(delta, chips)
            return torch.cat([found.to(rows.dtype), rows], 1)
        if wiring.kernel is None:
            found = driven.reshape(-1, wiring.rows).T @ delta.reshape(-1, neurons)
        else:
            shape = (wiring.columns, wiring.pooled[0] // wiring.groups, *wiring.kernel)
            kernel = conv2d_weight(  # type: ignore[no-untyped-call]
                driven, shape, _images(delta, wiring.outputs),
                stride=wiring.stride, padding=wiring.padding, groups=wiring.groups,
            )  # fmt: skip
            found = kernel.reshape(wiring.columns, -1).T
        return torch.cat([found.to(rows.dtype), rows[0]])

    @torch.no_grad()
    def run(
        self,
        stages: Sequence[Stage],
        windows: Iterable[Window],
        *,
        count: int,
        batch: int,
        steps: int,
        step: float,
        watch: Watch | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        if self.device == "cpu":
            keep_memory()
        iterator = iter(windows)
        run: _Run | None = None
        for _ in range(count):
            window = next(iterator)
            if run is None or run.noisy != _noisy(stages, window):
                run = _Run(self, stages, window, count, batch * stages[0].chips, steps, step, watch)
            run.window(window)
            if on_window is not None:
                on_window(run.banks[-1].membrane.clone())


@functools.cache
def keep_memory() -> None:
    """Let glibc keep the memory of large arrays for the next ones, up to 2 GB, for the rest of this process. By default
    it gives every one back to the system, whose fresh pages cost more than most operations on them. An environment that
    sets MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ is left alone, and other systems are.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & {*os.environ}:
        return
    trim, mmap, most = -1, -3, 2**31 - 1  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(mmap, most) or mallopt(mmap, 2**25):  # before 2.35 glibc takes 32 MB at most
            mallopt(trim, most)


def _noisy(stages: Sequence[Stage], window: Window) -> tuple[bool, ...]:
    """Which stages' membranes meet noise in a window."""
    return tuple(index < len(window.noise) and window.noise[index] is not None for index in range(len(stages)))


def _by_chip(values: Tensor, chips: int) -> Tensor:
    """Values [steps, chips x batch, n] as [chips, steps x batch, n]."""
    steps, batch, size = values.shape
    return values.reshape(steps, chips, batch // chips, size).transpose(0, 1).reshape(chips, -1, size)


def channels_last(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return values [..., size] of images of `shape` (channels, height, width) with their channels last, flat again;
    those of other shapes as they are.
    """
    if len(shape) != 3:
        return values
    return values.reshape(*values.shape[:-1], shape[0], -1).mT.reshape(values.shape)


def _images(values: Tensor, shape: tuple[int, ...], last: bool = False) -> Tensor:
    """Values [..., size] as images, in memory as processors like best to multiply them."""
    if last:
        channels, *sides = shape
        return values.reshape(-1, *sides, channels).permute(0, 3, 1, 2)
    images = values.reshape(-1, *shape)
    return images if values.dtype != torch.bfloat16 else images.contiguous(memory_format=torch.channels_last)


@functools.cache
def multiplies_bfloat16(device: str) -> bool:
    """Whether PyTorch has products of bfloat16 for this kind of device that sum in float32. Where it has not, on
    processors without the instructions, its own are a hundred times slower than those of float32, and less exact.
    """
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return device != "cpu" or (known is not None and known())


def _multiplied(factor: Tensor) -> Tensor:
    """A factor of a product in the dtype that the product is to have: bfloat16 only where that is multiplied."""
    rounded = factor.dtype == torch.bfloat16
    return factor.float() if rounded and not multiplies_bfloat16(factor.device.type) else factor


def _driven(wiring: Wiring, inputs: Tensor, last: bool = False) -> Tensor:
    """What drives the rows, of inputs [steps, batch, size]: [steps, batch, rows], or the images of a convolution [steps
    x batch, channels, height, width].
    """
    if wiring.kernel is None and (len(wiring.inputs) != 3 or (wiring.pool == 1 and not last)):
        return inputs
    images = _images(inputs, wiring.inputs, last)
    if wiring.pool > 1:
        images = functional.avg_pool2d(images, wiring.pool)
    return images.reshape(*inputs.shape[:2], -1) if wiring.kernel is None else images


def product(
    wiring: Wiring, inputs: Tensor, weights: Tensor, bias_rows: int, power: int = 1, last: bool = False
) -> Tensor:
    """Return what an array [rows + bias rows, columns] gives its neurons [steps, batch, neurons] for inputs [steps,
    batch, size], with every row's drive raised to `power`, all rounded to the dtype of the inputs. Of several chips,
    arrays [chips, rows + bias rows, columns]. last: whether images, also of neurons, are as `channels_last` has them.
    """
    steps, batch = inputs.shape[:2]
    rows = weights.shape[-2] - bias_rows
    driven = _multiplied(_driven(wiring, inputs, last))
    if power != 1:
        driven = driven**power
    bias = _multiplied(weights[..., rows:, :].sum(-2).to(inputs.dtype))
    weights = _multiplied(weights[..., :rows, :].to(inputs.dtype))
    if weights.ndim == 3:
        found = torch.baddbmm(bias[:, None], _by_chip(driven, len(weights)), weights)
        found = found.reshape(len(weights), steps, -1, wiring.neurons).transpose(0, 1)
    elif wiring.kernel is None:
        driven = driven.reshape(steps * batch, -1)
        found = torch.addmm(bias, driven, weights) if bias_rows else torch.mm(driven, weights)
    else:
        kernel = weights.T.reshape(wiring.columns, wiring.pooled[0] // wiring.groups, *wiring.kernel)
        found = functional.conv2d(driven, kernel, bias, wiring.stride, wiring.padding, groups=wiring.groups)
        found = found.permute(0, 2, 3, 1) if last else found
    return found.reshape(steps, batch, -1)


def squares(wiring: Wiring, inputs: Tensor, bias_rows: int) -> Tensor:
    """Return the sum of squares of what drives the rows under each neuron [steps, batch, neurons or 1]."""
    steps, batch = inputs.shape[:2]
    driven = _driven(wiring, inputs).square()
    if wiring.kernel is None:
        return driven.sum(-1, keepdim=True) + bias_rows
    per_group = wiring.pooled[0] // wiring.groups
    ones = driven.new_ones(wiring.groups, per_group, *wiring.kernel)
    summed = functional.conv2d(driven, ones, None, wiring.stride, wiring.padding, groups=wiring.groups) + bias_rows
    return summed.repeat_interleave(wiring.columns // wiring.groups, 1).reshape(steps, batch, -1)


# ------------------------------------------------------------------------------------------------ noise in a scan


def _signed(number: np.uint64) -> int:
    return int(np.array(number, dtype=np.uint64).view(np.int64))


_GAMMA, _FIRST, _SECOND = (_signed(number) for number in (GAMMA, FIRST, SECOND))


class Places(NamedTuple):
    """What the noise of a chunk is computed from: SplitMix64's constants, and the place of every pair of normals."""

    gamma: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, first: int, count: int, size: int, device: str) -> "Places":
        """Return the places of `count` steps from `first` on, of `size` neurons: [count, 1, pairs]."""
        half = (size + 1) // 2
        pairs = torch.arange(first * half + 1, (first + count) * half + 1, device=device).reshape(count, 1, half)
        return cls(torch.tensor(_GAMMA, device=device), pairs)


def _words(keys: Tensor, places: Tensor, gamma: Tensor | int) -> Tensor:
    words = keys[:, None] + places * gamma
    words = (words ^ ((words >> 30) & 0x3FFFFFFFF)) * _FIRST
    words = (words ^ ((words >> 27) & 0x1FFFFFFFFF)) * _SECOND
    return words ^ ((words >> 31) & 0x1FFFFFFFF)


def normals(keys: Tensor, places: Places, size: int, dtype: torch.dtype) -> Tensor:
    """The normals of `chipsim.streams.normals` [steps, samples, size], from the keys of the samples."""
    words = _words(keys, places.pairs, places.gamma)
    radius = torch.sqrt(-2 * torch.log((((words >> 32) & 0xFFFFFFFF).to(dtype) + 0.5) * 2.0**-32))
    angle = (words & 0xFFFFFFFF).to(dtype) * (2 * math.pi * 2.0**-32)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], 2)[..., :size]


def events(keys: Tensor, first: int, count: int, size: int, probability: float) -> Tensor:
    """Where the uniform numbers of `chipsim.streams.uniforms` [steps, samples, size] are below `probability`."""
    places = torch.arange(first * size + 1, (first + count) * size + 1, device=keys.device).reshape(count, 1, size)
    return ((_words(keys, places, _GAMMA) >> 11) & 0x1FFFFFFFFFFFFF).to(torch.float64) * 2.0**-53 < probability


# -------------------------------------------------------------------------------------------------------- the scan


class Chunk(NamedTuple):
    """What a scan takes besides state: drive [steps or 1, batch, neurons] and its spread by read noise, converters'
    (step, limit), what a shortcut adds, noise as values or as (keys, sigma), and where noise is drawn; bias [neurons]
    of the drive, where it does not have it; kept [steps, batch, neurons]: where spikes are not lost, if some are;
    errors of the converters.
    """

    drive: Tensor
    sigma: Tensor | None
    grid: tuple[Tensor, Tensor] | None
    extra: Tensor | None
    noise: Tensor | None
    white: tuple[tuple[Tensor, Tensor], ...]
    read: Tensor | None
    places: Places | None
    bias: Tensor | None = None
    kept: Tensor | None = None
    errors: Errors | None = None


def scan(
    advance: Callable[..., Any], steps: int, chunk: Chunk, states: tuple[Tensor, ...], constants: tuple[Tensor, ...],
    keep_v: bool,
) -> tuple[Tensor | None, Tensor | None, tuple[Tensor, ...]]:  # fmt: skip
    """Run a bank of circuits over some steps; return spikes and membranes [steps, batch, neurons], and the state."""
    dtype, size = states[0].dtype, chunk.drive.shape[2]
    drive, bias = chunk.drive, chunk.bias
    if bias is not None and chunk.grid is not None:  # a converter reads the bias too; else it is added step by step
        drive, bias = drive + bias, None
    if chunk.sigma is not None and chunk.read is not None and chunk.places is not None:
        drive = drive + chunk.sigma * normals(chunk.read, chunk.places, size, dtype)
    if chunk.grid is not None:
        lsb, limit = chunk.grid
        drive = torch.clamp(codes(drive / lsb, chunk.errors) * lsb, -limit, limit)
    if chunk.extra is not None:
        drive = drive + chunk.extra
    noise = chunk.noise
    for keys, sigma in chunk.white:
        assert chunk.places is not None
        drawn = sigma * normals(keys, chunk.places, size, dtype)
        noise = drawn if noise is None else noise + drawn
    spikes, membranes = [], []
    for k in range(steps):
        given = drive[k if drive.shape[0] > 1 else 0]
        inputs = (given if bias is None else given + bias, None if noise is None else noise[k])
        kept = () if chunk.kept is None else (chunk.kept[k],)
        *new, fired, v = advance(*states, *inputs, *kept, *constants)
        states = tuple(new)
        if fired is not None:
            spikes.append(fired.to(dtype))
        if keep_v:
            membranes.append(v)
    return torch.stack(spikes) if spikes else None, torch.stack(membranes) if membranes else None, states


_spent = [0.0]
"""Seconds that scans of this process took, or will take, without compiling, about."""


@functools.cache
def _compiled(function: Callable[..., Any]) -> Any:
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
    # the namespace of arrays is looked up behind a cache, which dynamo mentions
    warnings.filterwarnings("ignore", message="(?s).*functools.lru_cache", category=UserWarning)
    return torch.compile(function, dynamic=True)


@functools.cache
def compiler_found(device: str) -> bool:
    """Whether scans can be compiled on a device."""
    return device != "cpu" or any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))


# --------------------------------------------------------------------------------------------------------- a run


@dataclass(frozen=True)
class _Prepared:
    """What the runs of a stage share: the lowered text, its constants and start values, thresholds and converters."""

    lowered: Lowered
    constants: tuple[Tensor, ...]
    starts: dict[str, Tensor]
    threshold: Any
    errors: Errors | None


_prepared: "weakref.WeakKeyDictionary[Stage, dict[Any, _Prepared]]" = weakref.WeakKeyDictionary()


def _prepare(engine: Torch, stage: Stage, batch: int, step: float, noisy: bool) -> _Prepared:
    """Prepare a stage for batches of this size; once, and as long as the stage lives."""
    rows = batch // stage.chips if stage.chips > 1 else None
    known = _prepared.setdefault(stage, {})
    key = engine, rows, step, noisy
    if key not in known:
        lowered = lower(stage.circuit, step, noisy, stage.lossy)
        parameters = {name: engine.array(_per_row(values, rows or 1)) for name, values in stage.parameters.items()}
        constants = tuple(lowered.setup(*(parameters[name] for name in lowered.parameters)))
        zero = torch.zeros(stage.neurons, dtype=DTYPES[engine.dtype], device=engine.device)
        starts = {name: parameters[value] for name, value in stage.circuit.initial.items()} | {ELAPSED: zero + FOREVER}
        role = stage.circuit.roles.get("threshold")
        known[key] = _Prepared(
            lowered,
            constants,
            {name: starts.get(name, zero) for name in lowered.states},
            parameters[role] if role else None,
            _errors(engine, stage, rows or 1),
        )
    return known[key]


def _per_row(values: Array, batch: int) -> Array:
    """Values of the neurons as the scan takes them: one number where all are equal, [chips x batch, neurons] of
    several chips.
    """
    if values.min() == values.max():
        return np.asarray(values.flat[0])
    return values.repeat(batch, axis=0) if values.ndim > 1 else values


def _errors(engine: Torch, stage: Stage, batch: int) -> Errors | None:
    if stage.errors_out is None:
        return None
    gain, offset, bits = stage.errors_out
    gain, offset, *rest = (engine.array(_per_row(values, batch)) for values in (gain, offset, *bits))
    return Errors(gain, offset, tuple(rest))


class _Bank:
    """One stage in a run: its circuits' state and constants as tensors."""

    def __init__(self, engine: Torch, stage: Stage, batch: int, step: float, noisy: bool) -> None:
        self.engine, self.stage, self.wiring = engine, stage, stage.geometry
        prepared = _prepare(engine, stage, batch, step, noisy)
        self.lowered, self.constants, self.threshold = prepared.lowered, prepared.constants, prepared.threshold
        self.errors = prepared.errors
        self._initial = tuple(start.expand(batch, stage.neurons).contiguous() for start in prepared.starts.values())
        self.membrane = self._initial[self.lowered.states.index(stage.circuit.membrane)]
        self.states: tuple[Tensor, ...] = self._initial
        self.inputs = torch.empty(0)
        self.spikes: Tensor | None = None
        self.mean: Tensor | None = None
        self.bias: Tensor | None = None
        self.sigma: Tensor | None = None

    @property
    def work(self) -> int:
        """Operations per neuron and step; slow ones count for more."""
        functions = [node.target for node in self.lowered.step.graph.nodes if node.op == "call_function"]
        return sum(1 if function in CHEAP else 4 for function in functions)

    def clear(self) -> None:
        """Start a window from the initial state."""
        self.states, self.mean = self._initial, None

    def product(self, inputs: Tensor) -> None:
        """Take the product of the array with the inputs [steps, batch, size]: the mean, and the spread of reading."""
        stage, self.inputs = self.stage, inputs
        weights, bias_rows, self.bias = stage.weights(), stage.bias_rows, None
        if self.wiring.kernel is None and weights.ndim == 2:  # the scan adds the bias on its way
            rows = len(weights) - bias_rows
            weights, bias_rows, self.bias = weights[:rows], 0, weights[rows:].sum(0)
        driving = inputs.to(self.engine.factors)
        self.mean = product(self.wiring, driving, weights, bias_rows).to(inputs.dtype)
        variance = stage.variance()
        self.sigma = None
        if variance is None:
            return
        if variance.shape[-2:] == (1, 1):
            of_chips = variance.reshape(-1).repeat_interleave(inputs.shape[1] // variance.numel())
            self.sigma = (squares(self.wiring, inputs, stage.bias_rows) * of_chips[:, None]).sqrt_()
        else:
            squared = product(self.wiring, driving, variance, stage.bias_rows, power=2)
            self.sigma = squared.to(inputs.dtype).sqrt_()


class _Run:
    """Windows through all stages, chunk by chunk."""

    def __init__(
        self, engine: Torch, stages: Sequence[Stage], window: Window, count: int, batch: int, steps: int, step: float,
        watch: Watch | None,
    ) -> None:  # fmt: skip
        self.engine, self.batch, self.steps, self.watch = engine, batch, steps, watch
        self.noisy = _noisy(stages, window)
        self.banks = [_Bank(engine, stage, batch, step, noisy) for stage, noisy in zip(stages, self.noisy, strict=True)]
        self.chunk = self._chunk(window)
        self.scan = self._scan(count, window)

    def _chunk(self, window: Window) -> int:
        """Steps per chunk within the budget: what comes in, drives, spikes, signals and noise of the largest stage, the
        words that the noise of drivers and losses is made of, and spikes that shortcuts still need.
        """
        if self.watch is not None and self.watch.every_step:
            return 1
        kept = sum(self.banks[b.stage.shortcut.source].stage.neurons for b in self.banks if b.stage.shortcut)
        widest = max(
            (5 if window.drive(index) else 1) * bank.wiring.size + (11 if bank.stage.lossy else 8) * bank.stage.neurons
            for index, bank in enumerate(self.banks)
        )
        size = DTYPES[self.engine.dtype].itemsize * self.batch
        short = max(4, int(CHUNK_BYTES / (size * max(bank.stage.neurons for bank in self.banks))))
        most = min(CHUNK, short, CHUNK_WORK // max(bank.work for bank in self.banks))
        fused = 1 << max(0, most.bit_length() - 1)
        per_step = size * (kept + widest)
        return max(1, min(self.steps, fused, int(self.engine.memory / per_step)))

    def _scan(self, count: int, window: Window) -> Callable[..., Any]:
        """Return the scan for this run, compiled where the work is worth it."""
        engine, work = self.engine, count * self.batch * self.steps
        noisy = [sum(isinstance(given, tuple) for given in window.noise), sum(key is not None for key in window.reads)]
        per_neuron = [bank.work * NODE_SECONDS + any(noisy) * NORMAL_SECONDS for bank in self.banks]
        expected = work * sum(t * bank.stage.neurons for t, bank in zip(per_neuron, self.banks, strict=True))
        return engine.fused(scan, expected)

    def window(self, window: Window) -> None:
        """Run one window through all chunks."""
        given = gridded(self.engine.array(window.inputs), self.banks[0].stage.grid_in)
        if (chips := self.banks[0].stage.chips) > 1:
            given = given.repeat(*(1,) * (given.ndim - 2), chips, 1)
        for bank in self.banks:
            bank.clear()
        for first in range(0, self.steps, self.chunk):
            count = min(self.chunk, self.steps - first)
            below = given[None] if given.ndim == 2 else given[first : first + count]
            for bank in self.banks[1:]:  # nothing of the last chunk is needed any more but its memory
                bank.mean = bank.sigma = bank.spikes = None
                bank.inputs = torch.empty(0)
            for index, bank in enumerate(self.banks):
                noisy = window.drive(index)
                if index or bank.mean is None or given.ndim == 3 or noisy:
                    bank.product(self._driven(below, noisy, window, first, count))
                spikes, state = self._advance(bank, index, window, first, count)
                below = bank.spikes = spikes
                if self.watch is not None and self.watch.see(index, first, state):
                    self.banks[0].mean = None
        last = self.banks[-1]
        last.membrane = last.states[last.lowered.states.index(last.stage.circuit.membrane)]

    def _driven(self, below: Tensor, noise: Sequence[White], window: Window, first: int, count: int) -> Tensor:
        """What drives the rows [steps, batch, size], the noise of their drivers included."""
        size = below.shape[-1]
        places = Places.of(first, count, size, self.engine.device) if noise else None
        for one in noise:
            assert places is not None
            below = below * (1 + one.sigma * normals(self._keys(one.keys, window), places, size, below.dtype))
        return below

    def _kept(self, stage: Stage, losses: Sequence[White], window: Window, first: int, count: int) -> Tensor | None:
        """Where spikes are not lost [steps, batch, neurons]; None where none can be."""
        if not stage.lossy:
            return None
        kept = torch.ones((count, self.batch, stage.neurons), dtype=torch.bool, device=self.engine.device)
        for one in losses:
            kept &= ~events(self._keys(one.keys, window), first, count, stage.neurons, one.sigma)
        return kept

    def _advance(self, bank: _Bank, index: int, window: Window, first: int, count: int) -> tuple[Tensor, StageState]:
        watch, stage = self.watch, bank.stage
        keep_v = bool(watch and watch.v and watch.v[index])
        width = watch.gate[index] if watch is not None and watch.gate else None
        chunk = self._inputs(bank, index, window, first, count)
        run = self.scan if count * self.batch * stage.neurons >= SMALL else scan
        gated = watch is not None and width is not None and watch.gate_from < first + count
        v: Any
        spikes, v, bank.states = run(bank.lowered.step, count, chunk, bank.states, bank.constants, keep_v or gated)
        gate = None
        if watch is not None and width is not None:
            gate = torch.zeros((count, self.batch, stage.neurons), dtype=torch.bool, device=chunk.drive.device)
            if gated:
                start = max(0, watch.gate_from - first)
                gate[start:] = torch.abs(v[start:] - bank.threshold) < width
        if spikes is None:
            spikes = torch.zeros(1, dtype=chunk.drive.dtype, device=chunk.drive.device).expand(
                count, self.batch, stage.neurons
            )
        inputs = bank.inputs if bank.inputs.shape[0] == count else bank.inputs.expand(count, -1, -1)
        held = index == 0 and window.inputs.ndim == 2 and not window.drive(index)
        return spikes, StageState(inputs=inputs, held=held, spikes=spikes, v=v if keep_v else None, gate=gate)

    def _inputs(self, bank: _Bank, index: int, window: Window, first: int, count: int) -> Chunk:
        engine, stage = self.engine, bank.stage
        given = window.noise[index] if index < len(window.noise) else None
        key = window.reads[index] if index < len(window.reads) else None
        white = given if isinstance(given, tuple) else ()
        drawn = bool(white) or (key is not None and bank.sigma is not None)
        out = stage.grid_out
        assert bank.mean is not None
        return Chunk(
            drive=bank.mean,
            sigma=bank.sigma,
            grid=None if out is None else (self._scalar(out.step), self._scalar(out.limit)),
            extra=self._shortcut(stage),
            noise=engine.array(given[first : first + count]) if isinstance(given, np.ndarray) else None,
            white=tuple((self._keys(one.keys, window), self._scalar(one.sigma)) for one in white),
            read=self._keys(key, window) if drawn and key is not None else None,
            places=Places.of(first, count, stage.neurons, engine.device) if drawn else None,
            bias=bank.bias,
            kept=self._kept(stage, window.loss(index), window, first, count),
            errors=bank.errors,
        )

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=DTYPES[self.engine.dtype], device=self.engine.device)

    def _keys(self, keys: Sequence[int], window: Window) -> Tensor:
        of_samples = np.concatenate([sample_keys(key, window.numbers) for key in keys])
        return torch.as_tensor(of_samples.view(np.int64), device=self.engine.device)

    def _shortcut(self, stage: Stage) -> Tensor | None:
        shortcut = stage.shortcut
        if shortcut is None:
            return None
        spikes = self.banks[shortcut.source].spikes
        assert spikes is not None
        image: Tensor = shortcut.drive * shortcut(spikes)
        missing = shortcut.outputs[0] - shortcut.inputs[0]
        if missing:
            image = functional.pad(image, (0, 0) * (len(shortcut.outputs) - 1) + (0, missing))
        return image.reshape(*spikes.shape[:2], -1)
