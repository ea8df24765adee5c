"""Bad input, listed: each case ends in one clear sentence and an exit code that is not 0, never in a traceback."""

import dataclasses
import functools
import gzip
import struct
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brian2
import h5py
import numpy as np
import pytest

import chipsim as cs
from chipsim.circuits import Integrator
from chipsim.errors import ChipsimError
from chipsim.network import Conv2d, Dense
from chipsim.quantity import from_json
from chipsim.study import run
from studies.accuracy_vs_mismatch import STUDY
from teachers import datasets

NETWORK = cs.Network.random((4, 6, 3), seed=0)
IMAGES = cs.Network(
    (Conv2d(weight=np.ones((2, 2, 3, 2)), bias=np.zeros(2)), Dense(weight=np.ones((12, 3)), bias=np.zeros(3))),
    (2, 4, 4),
)
SMALL = cs.ChipDesign(tiles=4, rows=8, columns=8, neurons=8, readouts=4)


def snn(**options):
    return cs.deploy(NETWORK, cs.fabricate(SMALL, seed=0), **options)


class Batches:
    """Targets of the shapes asked for."""

    def __init__(self, samples=2, rates=((2, 6), (2, 3)), value=0.5):
        self.samples, self.rates, self.value = samples, rates, value

    def __len__(self):
        return self.samples

    def batches(self, size, epoch=0):
        yield np.zeros((2, 4)), np.zeros(2, int), tuple(np.full(shape, self.value) for shape in self.rates)


class Column:
    """Labels with an axis too many."""

    inputs, labels = np.zeros((2, 4)), np.zeros((2, 1), int)


class Labelled:
    """Inputs and labels of different number."""

    inputs, labels = np.zeros((2, 4)), np.zeros(1, int)


API = {
    "weights that are NaN": (lambda: Dense(weight=np.full((2, 2), np.nan), bias=np.zeros(2)), "NaN"),
    "infinite bias": (lambda: Dense(weight=np.ones((2, 2)), bias=np.full(2, np.inf)), "NaN or infinite"),
    "bias of the wrong length": (lambda: Dense(weight=np.ones((2, 2)), bias=np.zeros(3)), "3 values"),
    "percentile constant 0": (lambda: Dense(weight=np.ones((2, 2)), bias=np.zeros(2), constant=0.0), "constant"),
    "layers that do not chain": (
        lambda: cs.Network((NETWORK.layers[0], dataclasses.replace(NETWORK.layers[0]))),
        "6 outputs feeds a layer of 4 inputs",
    ),
    "layers that are no layers": (lambda: cs.Network((1, 2)), "must be a Dense"),
    "sizes below 1": (lambda: cs.Network.random((3, -1), seed=0), "at least 1"),
    "a design in place of a chip": (lambda: cs.deploy(NETWORK, SMALL), "needs a Chip"),
    "a path in place of a network": (lambda: cs.deploy("net.h5", cs.fabricate(SMALL, seed=0)), "needs a Network"),
    "one effect without its tuple": (lambda: cs.ChipDesign(effects=cs.Mismatch()), "must be a tuple"),
    "soft reset that is a word": (lambda: cs.LIF(soft_reset="no"), "True or False"),
    "seed beyond 64 bits": (lambda: cs.fabricate(SMALL, seed=2**70), "2^63"),
    "inputs that are words": (lambda: snn().outputs([["a"] * 4]), "array of numbers"),
    "currents that are words": (lambda: cs.bench(cs.LIF(), current="x"), "in ampere"),
    "labels in a column": (lambda: snn().accuracy(Column()), "shape (2, 1)"),
    "targets that are a list": (lambda: cs.learn(snn(), [1, 2]), "need batches()"),
    "probe by a mask": (lambda: snn().present(np.zeros((1, 4)), cs.Record(v=[True, False])), "whole-number"),
    "probe of a neuron between two": (lambda: snn().present(np.zeros((1, 4)), cs.Record(v=[1.5])), "whole-number"),
    "measured threshold below 0": (
        lambda: cs.Chip.from_measurements(
            dataclasses.replace(SMALL, effects=(cs.Mismatch(sigma=0.1),)), {"neurons/mismatch/threshold": -np.ones(8)}
        ),
        "such neurons fire without input",
    ),
    "no layers": (lambda: cs.Network(()), "at least one layer"),
    "layer larger than the chip": (
        lambda: cs.deploy(cs.Network.random((900, 6, 3), seed=0), cs.fabricate(SMALL, seed=0)),
        "raise ChipDesign.tiles",
    ),
    "more neurons than the chip has": (
        lambda: cs.deploy(cs.Network.random((4, 9, 3), seed=0), cs.fabricate(SMALL, seed=0)),
        "raise ChipDesign.neurons",
    ),
    "more outputs than the chip reads": (
        lambda: cs.deploy(cs.Network.random((4, 6, 5), seed=0), cs.fabricate(SMALL, seed=0)),
        "raise ChipDesign.readouts",
    ),
    "sigma -1": (lambda: cs.Mismatch(sigma=-1), "valid range 0 to 2"),
    "sigma that is NaN": (lambda: cs.Mismatch(sigma=float("nan")), "outside its valid range"),
    "sigma that is a word": (lambda: cs.Mismatch(sigma="big"), "not a number"),
    "unknown kind of mismatch": (lambda: cs.Mismatch(kinds=("thresold",)), "known: threshold"),
    "mismatch that cannot act": (
        lambda: cs.ChipDesign(circuit=cs.IF(), effects=(cs.Mismatch(kinds=("time_constant",)),)),
        "has no time_constant",
    ),
    "rate above 1": (lambda: cs.DeadNeurons(rate=1.5), "valid range 0 to 1"),
    "an effect twice": (lambda: cs.ChipDesign(effects=(cs.DeadNeurons(), cs.DeadNeurons())), "stands twice"),
    "something else as an effect": (lambda: cs.ChipDesign(effects=("mismatch",)), "must be an Effect"),
    "a read-out as the neuron": (lambda: cs.ChipDesign(circuit=Integrator()), "must spike"),
    "a neuron as the read-out": (lambda: cs.ChipDesign(readout=cs.LIF()), "must not spike"),
    "a chip without tiles": (lambda: cs.ChipDesign(tiles=0), "at least 1"),
    "reset above threshold": (lambda: cs.LIF(v_reset=0.7), "must lie above"),
    "rail below threshold": (lambda: cs.LIF(v_ceiling=0.5), "must enclose"),
    "time constant 0": (lambda: cs.LIF(tau=0.0), "outside its valid range"),
    "g_min above g_max": (lambda: cs.Ideal(g_min=1e-3), "must lie below"),
    "one level": (lambda: cs.Ideal(levels=1), "levels"),
    "a cell beyond its measurement": (
        lambda: dataclasses.replace(cs.RRAM_MILO_2021, g_min=1e-6),
        "leaves the measured range",
    ),
    "a target beyond the device": (
        lambda: cs.RRAM_MILO_2021.programme(np.array([1e-3]), np.random.default_rng(0)),
        "valid range",
    ),
    "negative seed": (lambda: cs.fabricate(SMALL, seed=-1), "from 0"),
    "seed that is a float": (lambda: cs.fabricate(SMALL, seed=0.5), "integer"),
    "measured array of an unknown name": (
        lambda: cs.Chip.from_measurements(SMALL, {"neurons/mismatch/threshold": np.ones(8)}),
        "unknown measured array",
    ),
    "window 0": (lambda: snn(window=0), "at least 1"),
    "negative step": (lambda: snn(step=-1e-3), "above 0 s"),
    "inputs of the wrong size": (lambda: snn().outputs(np.zeros((2, 5))), "[samples, 4]"),
    "inputs that are NaN": (lambda: snn().outputs(np.full((2, 4), np.nan)), "NaN"),
    "one sample without its axis": (lambda: snn().outputs(np.zeros(4)), "[samples, 4]"),
    "fewer labels than samples": (lambda: snn().accuracy(Labelled()), "label"),
    "probe of a layer that is not there": (
        lambda: snn().present(np.zeros((1, 4)), cs.Record(layer=5, v=True)),
        "does not exist",
    ),
    "probe of a neuron that is not there": (
        lambda: snn().present(np.zeros((1, 4)), cs.Record(v=[6])),
        "asks for index 6",
    ),
    "no targets": (lambda: cs.learn(snn(), Batches(samples=0)), "at least one sample"),
    "targets for another network": (lambda: cs.learn(snn(), Batches(rates=((2, 5), (2, 3)))), "targets have shapes"),
    "targets that are NaN": (lambda: cs.learn(snn(), Batches(value=np.nan)), "NaN"),
    "learning every week": (lambda: cs.learn(snn(), Batches(), update="week"), '"step", "sample" or "batch"'),
    "a batch of samples at once on one chip": (
        lambda: cs.learn(snn(), Batches(), update="sample", batch=8),
        "one sample at a time",
    ),
    "no epochs": (lambda: cs.learn(snn(), Batches(), epochs=0), "epochs"),
    "warm-up longer than the window": (
        lambda: cs.learn(snn(window=8), Batches(), rule=cs.LocalTandem(warm_up=12)),
        "leaves no step to teach",
    ),
    "current that is NaN": (lambda: cs.bench(cs.LIF(), current=[np.nan]), "finite currents"),
    "current in volts": (lambda: cs.bench(cs.LIF(), current=[1, 2] * brian2.nvolt), "wrong unit"),
    "tau in volts": (lambda: cs.LIF(tau=10 * brian2.mV), "wrong unit"),
    "bench shorter than a step": (lambda: cs.bench(cs.LIF(), current=1e-12, duration=1e-4), "at least one step"),
    "bench of more neurons than the chip has": (
        lambda: cs.bench(cs.LIF(), cs.fabricate(SMALL, seed=0), current=1e-12, neurons=9),
        "fewer than the 9",
    ),
    "chip file that is missing": (lambda: cs.Chip.load("no-such-chip.h5"), "there is no file"),
    "stored type that does not exist": (lambda: from_json({"type": "os.system"}, {"LIF": cs.LIF}), "unknown type"),
    "stored field that does not exist": (
        lambda: from_json({"type": "LIF", "thresold": 1}, {"LIF": cs.LIF}),
        "unknown field",
    ),
    "unknown data set": (lambda: datasets.load("imagenet"), "digits"),
    "engine of whole numbers": (lambda: cs.Torch(dtype="int8"), "known: float32, float64, mixed"),
    "engine on a device that is not there": (lambda: cs.Torch(device="nonsense"), "cannot be used"),
    "engine without memory": (lambda: cs.Torch(memory=0), "above 0 bytes"),
    "convolution without the shape of its samples": (lambda: cs.Network(IMAGES.layers), "needs the shape"),
    "convolution of flat inputs": (lambda: cs.Network(IMAGES.layers, (32,)), "cannot read inputs of shape (32,)"),
    "convolution of too few channels": (
        lambda: cs.Network(IMAGES.layers, (1, 4, 4)),
        "of 2 input channels cannot read",
    ),
    "convolution of too small an image": (lambda: cs.Network(IMAGES.layers, (2, 2, 4)), "does not fit an image"),
    "convolution whose outputs do not fit": (
        lambda: cs.Network(IMAGES.layers, (2, 5, 4)),
        "feeds a layer of 12 inputs",
    ),
    "pool that does not divide": (
        lambda: cs.Network((dataclasses.replace(IMAGES.layers[0], pool=3), IMAGES.layers[1]), (2, 4, 4)),
        "whose sides it divides",
    ),
    "pool of a half": (
        lambda: cs.Network((dataclasses.replace(IMAGES.layers[0], pool=0.5), IMAGES.layers[1]), (2, 4, 4)),
        "whole number of at least 1",
    ),
    "rows of a convolution": (
        lambda: cs.deploy(IMAGES, cs.fabricate(cs.ChipDesign(), seed=0)).present(
            np.zeros((1, 32)), cs.Record(rows=True)
        ),
        "once for every position",
    ),
    "current of a cell of a convolution": (
        lambda: cs.deploy(IMAGES, cs.fabricate(cs.ChipDesign(), seed=0)).present(
            np.zeros((1, 32)), cs.Record(current=((0, 0),))
        ),
        "once for every position",
    ),
    "DPI neurons in steps of 1 ms": (
        lambda: cs.deploy(NETWORK, cs.fabricate(dataclasses.replace(SMALL, circuit=cs.DPI()), seed=0)),
        "is too long for this DPI circuit",
    ),
    "bench of DPI neurons in steps of 1 ms": (
        lambda: cs.bench(cs.DPI(), current=1e-10, step=1e-3),
        "is too long for this DPI",
    ),
    "engine by name": (lambda: snn(engine="torch"), "as Torch() and Brian() are"),
    "engine that is a class": (lambda: snn(engine=cs.Torch), "as Torch() and Brian() are"),
    "avoid that is a mapping": (lambda: snn(avoid={"tiles": [1]}), "avoid must be an Avoid"),
    "avoid half a tile": (lambda: cs.Avoid(tiles=(1.7,)), "Avoid.tiles must hold whole numbers"),
    "a temperature profile of no points": (lambda: snn().follow_temperature([], []), "a temperature profile needs"),
    "probed layer that is a word": (
        lambda: snn().present(np.ones((1, 4)), cs.Record(layer="0", v=True)),
        "Record.layer '0' does not exist",
    ),
    "probed cells of three numbers": (
        lambda: snn().present(np.ones((1, 4)), cs.Record(current=((0, 1, 2),))),
        "must hold cells (row, column)",
    ),
    "voltages of a read that differ": (
        lambda: cs.ChipDesign(effects=(cs.SiliconMismatch(transistor_cells=True, v_read=0.3),)),
        "is not the design's",
    ),
    "converters of 1 bit": (lambda: cs.Converters(adc_bits=1), "0 (none) or 2 to 24, not 1"),
    "read noise of everything": (lambda: cs.ReadNoise(relative_to="all"), '"range" or "cell"'),
    "no chips": (lambda: cs.deploy(NETWORK, []), "needs a Chip"),
    "chips of two designs": (
        lambda: cs.deploy(NETWORK, [cs.fabricate(SMALL, seed=0), cs.fabricate(cs.ChipDesign(), seed=0)]),
        "must be of one design",
    ),
    "several chips in the reference engine": (
        lambda: cs.deploy(NETWORK, [cs.fabricate(SMALL, seed=s) for s in (0, 1)], engine=cs.Brian()).outputs(
            np.zeros((1, 4))
        ),
        "one chip at a time",
    ),
    "convolutions on several chips": (
        lambda: cs.deploy(
            IMAGES, [cs.fabricate(cs.ChipDesign(), seed=s) for s in (0, 1)], engine=cs.Torch(device="cpu")
        ).outputs(np.zeros((1, 32))),
        "run convolutions chip by chip",
    ),
    "probes on several chips": (
        lambda: cs.deploy(NETWORK, [cs.fabricate(SMALL, seed=s) for s in (0, 1)], engine=cs.Torch()).present(
            np.zeros((1, 4)), cs.Record(v=True)
        ),
        "one chip",
    ),
}


@pytest.mark.parametrize("case", API)
def test_the_library_refuses_with_a_sentence(case):
    call, expected = API[case]
    with pytest.raises(ChipsimError) as caught:
        call()
    message = str(caught.value)
    assert expected in message, message
    assert "\n" not in message
    assert len(message) < 400


# ------------------------------------------------------------------------------------------ files and commands

RUN = ["study", "run", "accuracy-vs-mismatch"]
SMALLEST = ["--chips", "1", "--set", "sigma=0", "--set", "samples=64"]


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(folder, *, images=None, labels=None, cut=None):
    """Write the four files of MNIST, small, and spoil the training images as asked."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        pixels = np.zeros((count, 28, 28), np.uint8) if images is None else images(count)
        classes = np.arange(count, dtype=np.uint8) % 10 if labels is None else labels(count)
        content = idx(pixels)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(content[:cut])
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(classes))


def spoil_nothing(folder):
    return [*RUN, "--dataset", "mnist", *SMALLEST, "--out", str(folder / "out.h5")]


def truncated_idx(folder):
    mnist(folder, cut=100_000)
    return spoil_nothing(folder)


def wrong_image_size(folder):
    mnist(folder, images=lambda n: np.zeros((n, 27, 28), np.uint8))
    return spoil_nothing(folder)


def label_out_of_range(folder):
    mnist(folder, labels=lambda n: np.full(n, 11, np.uint8))
    return spoil_nothing(folder)


def truncated_gzip(folder):
    mnist(folder)
    plain = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes())[:-20])
    plain.unlink()
    return spoil_nothing(folder)


def not_idx(folder):
    mnist(folder)
    (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"<html>not found</html>")
    return spoil_nothing(folder)


@functools.cache
def finished():
    """A finished result, as SMALLEST makes it."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        return run(
            STUDY, out=Path(folder) / "out.h5", dataset="digits", chips=1, factors={"sigma": (0.0,)},
            options={"samples": 64}, executor=thread, progress=False,
        )  # fmt: skip


def stored(folder, **attributes):
    """A finished result whose attributes are changed as asked."""
    out = folder / "out.h5"
    finished().assign_attrs(attributes).to_netcdf(out, engine="h5netcdf")
    return out


def another_schema(folder):
    return [*RUN, "--dataset", "digits", *SMALLEST, "--out", str(stored(folder, schema_version=99))]


def another_study(folder):
    out = stored(folder)
    return ["study", "run", "ltl-from-scratch", "--dataset", "digits", "--out", str(out)]


def another_seed(folder):
    return [*RUN, "--dataset", "digits", *SMALLEST, "--seed", "5", "--out", str(stored(folder))]


def not_a_result(folder):
    (folder / "out.h5").write_text("not HDF5")
    return [*RUN, "--dataset", "digits", *SMALLEST, "--out", str(folder / "out.h5")]


def another_hdf5(folder):
    with h5py.File(folder / "out.h5", "w") as file:
        file["x"] = 1
    return [*RUN, "--dataset", "digits", *SMALLEST, "--out", str(folder / "out.h5")]


def output_without_folder(folder):
    return [*RUN, "--dataset", "digits", *SMALLEST, "--out", str(folder / "nowhere" / "deep" / "out.h5")]


def output_below_a_file(folder):
    (folder / "file").write_text("")
    return [*RUN, "--dataset", "digits", *SMALLEST, "--out", str(folder / "file" / "out.h5")]


COMMANDS = {
    "truncated IDX file": (truncated_idx, "truncated"),
    "wrong image size": (wrong_image_size, "28"),
    "label out of range": (label_out_of_range, "11"),
    "truncated gzip": (truncated_gzip, "train-images"),
    "not an IDX file": (not_idx, "train-images"),
    "output of another schema version": (another_schema, "99"),
    "output of another study": (another_study, "accuracy_vs_mismatch"),
    "output of another seed": (another_seed, "seed"),
    "output that is not HDF5": (not_a_result, "out.h5"),
    "output that is another HDF5 file": (another_hdf5, "out.h5"),
    "output in a folder that is not there": (output_without_folder, "folder"),
    "output below a file": (output_below_a_file, "file"),
    "unknown study": (lambda _: ["study", "run", "accuracy-vs-mismach", "--out", "x.h5"], "accuracy-vs-mismatch"),
    "unknown factor": (lambda _: [*RUN, "--set", "sigm=0.1", "--out", "x.h5"], "sigma"),
    "factor out of range": (lambda _: [*RUN, "--set", "sigma=-1", "--out", "x.h5"], "-1"),
    "factor that is a word": (lambda _: [*RUN, "--set", "sigma=high", "--out", "x.h5"], "high"),
    "unknown data set": (lambda _: [*RUN, "--dataset", "imagenet", "--out", "x.h5"], "imagenet"),
    "no chips": (lambda _: [*RUN, "--chips", "0", "--out", "x.h5"], "0"),
    "negative seed": (lambda _: [*RUN, "--seed", "-3", "--out", "x.h5"], "-3"),
    "show a file that is not there": (lambda _: ["study", "show", "no.h5"], "no.h5"),
    "get a data set that is not known": (lambda _: ["data", "get", "imagenet"], "imagenet"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_fails_with_a_sentence(case, chipsim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHIPSIM_DATA", str(tmp_path))
    arguments, expected = COMMANDS[case]
    code, _, said = chipsim(*arguments(tmp_path))
    assert code, said
    assert expected in said, said
    assert "Traceback" not in said
