"""What every local learning rule must do, in hidden and in read-out arrays.

A rule is shown windows of 16 steps in the fields of `LocalSignals` that it declares. Its column signals are multiplied
with what the rows carry, as the cells of an array do it; the sum over the window is its gradient.
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.rules import Rule
from chipsim.signals import LocalSignals
from chipsim.streams import stream
from chipsim.testing.conformance.parameters import PARAMETERS

Array = NDArray[np.float64]
Seen = Mapping[str, NDArray[Any]]
"""Signals of a window by name, each [steps, batch, neurons], and `pre` [steps, batch, rows], what drives the rows."""

STEPS, BATCH, ROWS, COLUMNS, CLASSES = 16, 5, 7, 6, 4
THRESHOLD = 0.6
ROW_LEAK = 0.8
"""Share of a row's trace that is left after a step."""


def observed(rule: Rule, *, readout: bool, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return the signals of a random window: spikes in, membranes around the threshold, targets."""
    rng = stream(seed, "conformance", "signals")
    pre = (rng.random((STEPS, BATCH, ROWS)) < 0.4).astype(float)
    target = np.repeat(rng.random((1, BATCH, COLUMNS)), STEPS, axis=0)
    classes = COLUMNS if readout else CLASSES
    label = np.repeat(np.eye(classes)[rng.integers(0, classes, BATCH)][None], STEPS, axis=0)
    if readout:
        value = np.cumsum(rng.normal(size=(STEPS, BATCH, COLUMNS)), axis=0)
        return {"pre": pre, "value": value, "target": target / target.sum(axis=2, keepdims=True), "label": label}
    membrane = THRESHOLD + rng.uniform(-2.0, 2.0, (STEPS, BATCH, COLUMNS)) * rule.gate
    return {
        "pre": pre,
        "spikes": (membrane > THRESHOLD).astype(float),
        "gate": np.abs(membrane - THRESHOLD) < rule.gate,
        "membrane": membrane,
        "target": target,
        "label": label,
    }


def signals(
    rule: Rule, seen: Seen, step: int, *, readout: bool, kind: Callable[[NDArray[Any]], Any] | None = None
) -> LocalSignals:
    """Return one step of a window as the rule gets it: only what it declares, in arrays that cannot be edited, or in
    arrays that `kind` makes of them.
    """
    shown = {name: values[step] for name, values in seen.items() if name in rule.reads}
    for values in shown.values():
        values.flags.writeable = False
    made = {name: kind(values.copy()) for name, values in shown.items()} if kind else shown
    return LocalSignals(step=step, window=STEPS, leak=0.9, readout=readout, **made)


def carried(rule: Rule, pre: Array, *, readout: bool) -> Array:
    """Return what the rows carry [steps, batch, rows] when `pre` drives them: `pre` itself, or its trace."""
    if rule.rows(readout) == "pre":
        return pre
    traces = [pre[0]]
    for driven in pre[1:]:
        traces.append(ROW_LEAK * traces[-1] + driven)
    return np.stack(traces)


def taught(rule: Rule, seen: Seen, *, readout: bool, kind: Callable[[NDArray[Any]], Any] | None = None) -> Array:
    """Return the gradient [rows, columns] of a window, 0 where hidden arrays do not learn; raise AssertionError for a
    wrong shape or none at all.
    """
    batch, rows = seen["pre"].shape[1:]
    columns = seen["value" if readout else "spikes"].shape[2]
    row_signals = carried(rule, seen["pre"], readout=readout)
    state, total, count = rule.init(), np.zeros((rows, columns)), 0
    for step in range(STEPS):
        state, delta = rule.update(state, signals(rule, seen, step, readout=readout, kind=kind))
        if delta is None:
            continue
        steps, first = delta.shape[0], step + 1 - delta.shape[0]
        assert delta.shape[1:] == (batch, columns), f"the column signal is {delta.shape}, not [steps, {batch, columns}]"
        assert 0 < steps <= step + 1, f"step {step} gives a column signal for {steps} steps"
        assert steps == 1 or rule.looks_back, "the column signal comes for earlier steps, but looks_back is False"
        found = to_numpy(delta)
        assert np.isfinite(found).all(), "the column signal is NaN or infinite"
        total += np.einsum("tbr,tbc->rc", row_signals[first : step + 1], found)
        count += 1
    assert count or not (readout or rule.hidden), f"no step of a window of {STEPS} taught anything"
    return total


def declares_known_signals(rule: Rule) -> None:
    """`reads` names fields of LocalSignals, and `rows` what rows can carry."""
    arrays = {field.name for field in fields(LocalSignals) if field.default is None}
    assert rule.reads, "a rule that reads nothing cannot learn"
    assert rule.reads <= arrays, f"reads names {sorted(rule.reads - arrays)}; LocalSignals has {sorted(arrays)}"
    for readout in (False, True):
        assert rule.rows(readout) in ("pre", "trace"), f'rows carry "pre" or "trace", not {rule.rows(readout)!r}'
    assert 0 <= rule.silent(STEPS) < STEPS, f"it is silent for {rule.silent(STEPS)} steps of {STEPS}"


def gives_gradients(rule: Rule) -> None:
    """A window teaches: its gradient is [rows, columns], finite, and not zero, from the declared signals alone. Hidden
    arrays of a rule that states `hidden = False` learn nothing.
    """
    for readout in (False, True):
        any_taught = taught(rule, observed(rule, readout=readout), readout=readout).any()
        assert any_taught == (readout or rule.hidden), (
            "a random window taught nothing" if not any_taught else "hidden arrays learn, but `hidden` says they do not"
        )


def reads_all_it_declares(rule: Rule) -> None:
    """Every declared signal changes the gradient, in hidden or in read-out arrays: nothing is wired for nothing."""
    for name in sorted(rule.reads):
        moved = False
        for readout in (False, True):
            seen, other = (observed(rule, readout=readout, seed=seed) for seed in (0, 1))
            if name in seen:
                swapped = {**seen, name: other[name]}
                moved |= not np.array_equal(taught(rule, seen, readout=readout), taught(rule, swapped, readout=readout))
        assert moved, f"{name!r} is declared in reads, but changes nothing"


def is_pure(rule: Rule) -> None:
    """The same state and signals give the same result, and neither is edited."""
    for readout in (False, True):
        seen = observed(rule, readout=readout)
        state = rule.init()
        for step in range(STEPS):
            shown, before = signals(rule, seen, step, readout=readout), pickle.dumps(state)
            contents = pickle.dumps(shown)
            after, again = rule.update(state, shown), rule.update(state, shown)
            assert pickle.dumps(state) == before, f"step {step}: the state it was given was edited"
            assert pickle.dumps(shown) == contents, f"step {step}: the signals it was given were edited"
            assert pickle.dumps(after) == pickle.dumps(again), f"step {step}: a second call gave another result"
            state = after[0]


def runs_on_either_kind_of_array(rule: Rule) -> None:
    """Tensors of PyTorch give the gradient that numpy's arrays give."""
    for readout in (False, True):
        seen = observed(rule, readout=readout)
        ours, tensors = (taught(rule, seen, readout=readout, kind=kind) for kind in (None, torch.from_numpy))
        assert np.allclose(tensors, ours, rtol=1e-9, atol=1e-15), "tensors give another gradient than arrays"


def is_silent_as_stated(rule: Rule) -> None:
    """In the first `silent(window)` steps the gate plays no part."""
    quiet = rule.silent(STEPS)
    if "gate" in rule.reads and quiet:
        seen = observed(rule, readout=False)
        gate = seen["gate"].copy()
        gate[:quiet] = ~gate[:quiet]
        same = np.array_equal(taught(rule, {**seen, "gate": gate}, readout=False), taught(rule, seen, readout=False))
        assert same, f"it states {quiet} silent steps, but looks at the gate in them"


def _aims_at_a_rate(rule: Rule) -> bool:
    """Whether hidden neurons learn towards a target rate."""
    return rule.hidden and "target" in rule.reads


def rests_at_its_target(rule: Rule) -> None:
    """A hidden neuron that has a target rate and fires at it in every step gets no gradient."""
    if not _aims_at_a_rate(rule):
        return
    seen = observed(rule, readout=False)
    at_target = np.zeros((STEPS, BATCH, COLUMNS))
    at_target[:, ::2, ::2] = 1.0
    gradient = taught(rule, {**seen, "spikes": at_target, "target": at_target}, readout=False)
    assert np.allclose(gradient, 0.0, atol=1e-12), "no error, yet a gradient"


def pulls_towards_the_target(rule: Rule) -> None:
    """Below a target rate with an open gate and active inputs weights grow (gradient < 0), above it they shrink."""
    if not _aims_at_a_rate(rule):
        return
    active, whole = np.ones((STEPS, BATCH, ROWS)), np.ones((STEPS, BATCH, COLUMNS))
    for spikes, sign in ((0.0, -1.0), (1.0, 1.0)):
        near = THRESHOLD + sign * min(0.5 * rule.gate, 0.1)
        seen = {
            "pre": active,
            "spikes": spikes * whole,
            "gate": whole > 0,
            "membrane": near * whole,
            "target": (1.0 - spikes) * whole,
        }
        gradient = taught(rule, seen, readout=False)
        assert (sign * gradient > 0).all(), f"rate {spikes:g} at target {1 - spikes:g}: the gradient has a wrong sign"


def raises_the_right_class(rule: Rule) -> None:
    """In a read-out array of columns with equal shares of 1, the target's column grows and the others shrink."""
    target = np.zeros((STEPS, BATCH, COLUMNS))
    target[:, :, 2] = 1.0
    value = np.cumsum(np.full_like(target, 1 / COLUMNS), axis=0)
    seen = {"pre": np.ones((STEPS, BATCH, ROWS)), "value": value, "target": target, "label": target}
    gradient = taught(rule, seen, readout=True)
    assert (gradient[:, 2] < 0).all(), "the target's column does not grow"
    assert (np.delete(gradient, 2, axis=1) > 0).all(), "another column does not shrink"


def needs_an_open_gate(rule: Rule) -> None:
    """Where the comparator stays closed, a hidden neuron that reads it gets no gradient."""
    if "gate" in rule.reads:
        seen = observed(rule, readout=False)
        gate = seen["gate"].copy()
        gate[:, :, 1] = False
        assert not taught(rule, {**seen, "gate": gate}, readout=False)[:, 1].any(), "a closed gate, yet a gradient"


def is_local(rule: Rule) -> None:
    """In a hidden array, row and column signals of one cell leave the gradient of all other rows and columns alone; of
    other columns not, where the rule states `by_column = False`.
    """
    seen, other = (observed(rule, readout=False, seed=seed) for seed in (0, 1))
    before = taught(rule, seen, readout=False)
    row = {**seen, "pre": np.where(np.arange(ROWS) == 3, other["pre"], seen["pre"])}
    after = taught(rule, row, readout=False)
    assert np.allclose(np.delete(after, 3, 0), np.delete(before, 3, 0), rtol=1e-9), "one row's input moved others"
    column = {
        k: v if k in ("pre", "label") else np.where(np.arange(COLUMNS) == 2, other[k], v) for k, v in seen.items()
    }
    after = taught(rule, column, readout=False)
    alone = np.allclose(np.delete(after, 2, 1), np.delete(before, 2, 1), rtol=1e-9)
    assert alone == rule.by_column, (
        "no column moved others: state `by_column = True`"
        if alone
        else "one column moved others, but `by_column` says that it does not"
    )
    silent = {**seen, "pre": np.where(np.arange(ROWS) == 3, 0.0, seen["pre"])}
    assert not taught(rule, silent, readout=False)[3].any(), "a row that was never driven got a gradient"


def averages_over_the_batch(rule: Rule) -> None:
    """Showing every sample twice leaves the gradient as it was."""
    for readout in (False, True):
        seen = observed(rule, readout=readout)
        twice = {name: np.concatenate([values, values], axis=1) for name, values in seen.items()}
        once, doubled = taught(rule, seen, readout=readout), taught(rule, twice, readout=readout)
        assert np.allclose(doubled, once, rtol=1e-9, atol=1e-15), "the gradient depends on the size of the batch"


RULE: tuple[Callable[[Rule], None], ...] = (
    *PARAMETERS,
    declares_known_signals,
    gives_gradients,
    reads_all_it_declares,
    is_pure,
    runs_on_either_kind_of_array,
    is_silent_as_stated,
    rests_at_its_target,
    pulls_towards_the_target,
    raises_the_right_class,
    needs_an_open_gate,
    is_local,
    averages_over_the_batch,
)
