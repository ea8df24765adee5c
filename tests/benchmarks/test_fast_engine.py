"""The fast engine beside its peers and its floors: ratios of one run, on 2 threads. Run alone: make bench.

784-512-512-10, T = 16, batch 128, direct encoding; the product with the constant input is made once for everyone.
"""

import brian_dpi
import floors
import numpy as np
import peers
import pytest
import torch
from measure import THREADS, Figure, PeakBytes, side_by_side, table, write

import chipsim as cs
from chipsim.circuits import DPI, LIF
from chipsim.engines import Brian, Stage, Torch, Window
from chipsim.engines.lowering import ELAPSED, FOREVER, lower
from chipsim.engines.torch import Chunk, _compiled, keep_memory, scan
from chipsim.network import Conv2d, Dense
from teachers.datasets import Split

SIZES, T, BATCH = (784, 512, 512, 10), 16, 128
NEURONS = 262_144
NOISY = (cs.MembraneNoise(sigma=0.05), cs.ReadNoise(sigma=0.01), cs.Converters())
FIGURES: list[Figure] = []
GROWTH: dict[str, object] = {}


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    keep_memory()  # as every run of the engine does; the peers in this process have it too
    yield
    torch.set_num_threads(before)


def deployed(sizes=SIZES, *, network=None, window=T, effects=(), device=None, **options):
    network = network or cs.Network.random(sizes, seed=0)
    design = cs.ChipDesign(headroom=20.0, effects=effects, device=device or cs.Ideal(), neurons=262_144, tiles=1024)
    return cs.deploy(network, cs.fabricate(design, seed=0), window=window, engine=Torch(device="cpu", **options))


def images(batch=BATCH, size=SIZES[0]):
    return np.random.default_rng(0).random((batch, size), dtype=np.float32)


class SameBatch:
    """Learning samples of which every batch is the same: what is measured is the step, not the teacher."""

    def __init__(self, steps, sizes=SIZES, batch=BATCH):
        rng = np.random.default_rng(0)
        rates = tuple(rng.random((batch, n), dtype=np.float32) for n in sizes[1:-1])
        self.labels = rng.integers(0, sizes[-1], batch)
        one_hot = np.eye(sizes[-1], dtype=np.float32)[self.labels]
        self.batch, self.steps = (images(batch, sizes[0]), self.labels, (*rates, one_hot)), steps

    def __len__(self):
        return self.steps * len(self.labels)

    def batches(self, size, epoch=0):
        return iter([self.batch] * self.steps)


def learning(deployment, steps, warm_up=12):
    targets = SameBatch(steps)
    return lambda: cs.learn(deployment, targets, rule=cs.LocalTandem(warm_up=warm_up), batch=BATCH, progress=False)


# ------------------------------------------------------------------------------------------------- populations


def advance(circuit, step, drive, dtype, steps):
    """Return `steps` steps of a population through the compiled scan, its state carried on."""
    lowered = lower(circuit, step, False)
    given = {name: torch.tensor(value, dtype=dtype) for name, value in circuit.nominal().items()}
    constants = tuple(lowered.setup(*(given[name] for name in lowered.parameters)))
    start = {ELAPSED: FOREVER, **{state: circuit.nominal()[name] for state, name in circuit.initial.items()}}
    state = [tuple(torch.full((1, NEURONS), start[name], dtype=dtype) for name in lowered.states)]
    chunk = Chunk(
        drive=drive.to(dtype), sigma=None, grid=None, extra=None, noise=None, white=(), read=None, places=None
    )
    compiled = _compiled(scan)

    def run():
        spikes, _, state[0] = compiled(lowered.step, steps, chunk, state[0], constants, False)
        return spikes

    return run


def test_dpi_neurons_beside_brian2():
    circuit, steps = DPI(), 2
    drive = torch.rand(1, 1, NEURONS, generator=torch.Generator().manual_seed(0)) * 200e-12
    population = brian_dpi.population_of(circuit, drive.flatten().double().numpy(), circuit.step)
    cython, standalone = brian_dpi.cython(population), brian_dpi.standalone(population, threads=THREADS)
    ours = {}
    for dtype in (torch.float32, torch.float64):
        run = advance(circuit, circuit.step, drive, dtype, steps)
        fired = sum(float(run().sum()) for _ in range(1000))
        assert fired > NEURONS  # about 0.2 s with refractory times: the population is at work
        ours[dtype] = side_by_side({"run": run}, rounds=31)["run"] / (steps * NEURONS) * 1e9
    details = {
        "chipsim float32 [ns]": ours[torch.float32],
        "chipsim float64 [ns]": ours[torch.float64],
        "Brian2 cython [ns]": cython,
        "Brian2 C++ standalone [ns]": standalone,
        "ratio to cython in float64": cython / ours[torch.float64],
        "ratio to standalone in float64": standalone / ours[torch.float64],
    }
    version = peers.peer_version("brian2")
    FIGURES.extend(
        Figure(
            name=f"DPI update, speed over Brian2 {name}",
            value=peer / ours[torch.float32],
            goal=goal,
            peer="Brian2",
            peer_version=version,
            note="262,144 neurons, float32 against Brian2's float64",
            details=details,
        )
        for name, peer, goal in (("cython", cython, 8.0), ("C++ standalone, 2 threads", standalone, 4.0))
    )


def test_lif_scan_beside_copying():
    steps, chunk = 64, 8
    drive = torch.rand(steps, 1, NEURONS, generator=torch.Generator().manual_seed(0)) * 0.5
    runs = [advance(LIF(), 1e-3, part, torch.float32, chunk) for part in drive.split(chunk)]
    times = side_by_side(
        {
            "scan": lambda: [run() for run in runs],
            "copy": floors.copy_bandwidth(steps * NEURONS, torch.float32),
        },
        rounds=31,
    )
    FIGURES.append(
        Figure(
            name="LIF scan, speed relative to copying its bytes",
            value=times["copy"] / times["scan"],
            goal=0.5,
            peer="copy of a tensor",
            note="drive in, spikes out, float32, 262,144 neurons, 64 steps in chunks of 8",
            details={f"{name} [ms]": 1e3 * seconds for name, seconds in times.items()},
        )
    )


# --------------------------------------------------------------------------------------------------- inference


def test_inference():
    x = images()
    ideal, double = deployed(compile=True), deployed(compile=True, dtype="float64")
    noisy = deployed(compile=True, effects=NOISY, device=cs.RRAM_MILO_2021)
    functions = {
        "floor": floors.matrix_products(SIZES, T, BATCH, torch.float32),
        "ideal": lambda: ideal.outputs(x),
        "noisy": lambda: noisy.outputs(x),
    }
    names = {"spikingjelly": peers.spikingjelly_network, "snntorch": peers.snntorch_network}
    for name, build in names.items():
        if peers.peer_version(name) is not None:
            forward, tensor = peers.inference(build(SIZES, T)), torch.from_numpy(x)
            functions[name] = lambda forward=forward, tensor=tensor: forward(tensor)
    times = side_by_side(functions)
    slow = side_by_side(
        {"float64": lambda: double.outputs(x), "floor64": floors.matrix_products(SIZES, T, BATCH, torch.float64)}
    )
    reference = cs.deploy(ideal.network, ideal.chip, window=T, engine=Brian())
    many = images(1024)
    slow |= side_by_side({"brian": lambda: reference.outputs(many)}, rounds=5, warmup=1)
    per_batch = slow["brian"] * BATCH / len(many)
    details = {f"{name} [ms]": 1e3 * seconds for name, seconds in (times | slow).items() if name != "brian"}
    details["Brian2 engine, float64 [ms]"] = 1e3 * per_batch
    shared = {"note": "784-512-512-10, T = 16, batch 128, float32, compiled", "details": details}
    FIGURES.extend(
        [
            Figure(
                name="inference, ideal chip, speed relative to the bare products",
                value=times["floor"] / times["ideal"],
                goal=0.65,
                peer="bare products",
                **shared,
            ),
            Figure(
                name="inference, noisy chip, speed relative to the bare products",
                value=times["floor"] / times["noisy"],
                goal=0.25,
                peer="bare products",
                note="programming, read and membrane noise, 8-bit converters, float32, compiled",
                details=details,
            ),
            Figure(
                name="inference, speed over the Brian2 engine, float32",
                value=per_batch / times["ideal"],
                peer="Brian2",
                peer_version=peers.peer_version("brian2"),
                **shared,
            ),
            Figure(
                name="inference, speed over the Brian2 engine, float64",
                value=per_batch / slow["float64"],
                peer="Brian2",
                peer_version=peers.peer_version("brian2"),
                **shared,
            ),
        ]
    )
    FIGURES.extend(
        Figure(
            name=f"inference, speed over {name}",
            value=times[name] / times["ideal"] if name in times else None,
            peer=name,
            peer_version=peers.peer_version(name),
            note="" if name in times else "not installed: pip install chipsim[bench]",
            details=details,
        )
        for name in names
    )


def convolutions(**options):
    """64C3-64C3-64C3-P4-10 for images of 3 x 32 x 32, on an ideal chip."""
    layers = [Conv2d(weight=np.zeros((64, below, 3, 3)), bias=np.zeros(64), padding=1) for below in (3, 64, 64)]
    dense = Dense(weight=np.zeros((64 * 8 * 8, 10)), bias=np.zeros(10), pool=4)
    network = cs.Network((*layers, dense), (3, 32, 32)).redrawn(seed=0)
    return deployed(network=network, **options)


def test_mixed_precision():
    """Products of bfloat16 beside those of float32, all else alike."""
    dense, pictures = images(), images(16, 3 * 32 * 32).reshape(16, 3, 32, 32)
    lesson = Split(pictures, np.arange(16) % 10)
    functions = {}
    for dtype in ("float32", "mixed"):
        perceptron, kernels = deployed(compile=True, dtype=dtype), convolutions(compile=True, dtype=dtype)
        functions[f"784-512-512-10, {dtype}"] = lambda snn=perceptron: snn.outputs(dense)
        functions[f"convolutions, {dtype}"] = lambda snn=kernels: snn.outputs(pictures)
        functions[f"host step, {dtype}"] = lambda snn=kernels: cs.train_in_the_loop(
            snn, lesson, method=cs.SpikeBackprop(), optimiser=cs.SGD(lr=0.0), batch=16, batch_norm=True, progress=False
        )
    times = side_by_side(functions, rounds=7, warmup=2)
    names = {
        "784-512-512-10": "inference",
        "convolutions": "inference of 64C3-64C3-64C3-P4-10",
        "host step": "step of spike-based back-propagation, 64C3-64C3-64C3-P4-10",
    }
    FIGURES.extend(
        Figure(
            name=f"mixed precision over float32, {name}",
            value=times[f"{what}, float32"] / times[f"{what}, mixed"],
            note=f"AMX of bfloat16: {torch.cpu._is_amx_tile_supported()}",
            details={key: 1e3 * seconds for key, seconds in times.items()},
        )
        for what, name in names.items()
    )


# ---------------------------------------------------------------------------------------------------- learning


def test_learning_step():
    steps = 10
    ours = deployed(compile=True)
    functions = {"chipsim": learning(ours, steps)}
    names = {"spikingjelly": peers.spikingjelly_network, "snntorch": peers.snntorch_network}
    targets = SameBatch(1)
    x, labels = torch.from_numpy(targets.batch[0]), torch.from_numpy(targets.labels)
    for name, build in names.items():
        if peers.peer_version(name) is not None:
            network = build(SIZES, T)
            step = peers.bptt_step(network, torch.optim.Adam(network.parameters(), lr=1e-3))
            functions[name] = lambda step=step: [step(x, labels) for _ in range(steps)]
    times = {name: seconds / steps for name, seconds in side_by_side(functions, rounds=7, warmup=1).items()}
    details = {f"{name} [ms]": 1e3 * seconds for name, seconds in times.items()}
    FIGURES.extend(
        Figure(
            name=f"LTL online step, speed over the BPTT step of {name}",
            value=times[name] / times["chipsim"] if name in times else None,
            goal=6.0,
            peer=name,
            peer_version=peers.peer_version(name),
            note="through learn(), cells written" if name in times else "not installed: pip install chipsim[bench]",
            details=details,
        )
        for name in names
    )


def learning_peak(window, sizes=SIZES):
    """Peak bytes of tensors above the weights in an online learning step, uncompiled."""
    deployment = deployed(sizes, window=window, compile=False)
    run = learning(deployment, 1, warm_up=window * 3 // 4)
    run()
    with PeakBytes() as memory:
        run()
    return memory.peak


def test_learning_memory_does_not_grow_with_the_window():
    peaks = {window: learning_peak(window) for window in (16, 64, 256)}
    GROWTH["peak bytes of an online step by window"] = peaks
    FIGURES.append(
        Figure(
            name="LTL online memory, T = 16 over T = 256",
            value=peaks[16] / peaks[256],
            goal=1 / 1.1,
            note="peak tensor bytes above the weights; below 10 % growth",
            details={f"T = {window} [MB]": peak / 1e6 for window, peak in peaks.items()},
        )
    )
    assert peaks[256] < 1.25 * peaks[16]


# ---------------------------------------------------------------------------------------------------- crossbars


def test_noisy_crossbar_products():
    rows = T * BATCH
    snn = deployed(compile=True, effects=NOISY[1:], device=cs.RRAM_MILO_2021)
    engine, rng = snn.engine, np.random.default_rng(0)
    inputs = [rng.random((rows, n), dtype=np.float32) for n in SIZES[:-1]]
    readout = cs.Integrator()
    stages = [
        Stage(
            circuit=readout,
            parameters={name: np.full(stage.neurons, value) for name, value in readout.nominal().items()},
            weights=stage.weights,
            variance=stage.variance,
            wiring=stage.wiring,
            bias_rows=stage.bias_rows,
            grid_in=snn.stages[0].grid_in,
            grid_out=stage.grid_out,
        )
        for stage in snn.stages
    ]

    def products():
        for key, (stage, x) in enumerate(zip(stages, inputs, strict=True)):
            window = Window(inputs=x, numbers=range(rows), reads=((key,),))
            engine.run([stage], [window], count=1, batch=rows, steps=1, step=1e-3)

    functions = {"chipsim": products}
    try:
        theirs = peers.aihwkit_crossbars(SIZES, torch_tile=True)
        tensors = [torch.from_numpy(x) for x in inputs]
        functions["aihwkit"] = lambda: theirs(tensors)
    except ImportError:
        pass
    times = side_by_side(functions, rounds=9, warmup=3)
    count = len(stages) * rows
    details = {f"{name}, products per second": count / seconds for name, seconds in times.items()}
    here = "aihwkit" in times
    details["recorded aihwkit 1.2.0 (2026-11-24, 2 threads), products per second"] = 145_000.0
    FIGURES.append(
        Figure(
            name="noisy crossbar products, speed over aihwkit",
            value=times["aihwkit"] / times["chipsim"] if here else None,
            goal=5.0,
            peer="aihwkit",
            peer_version=peers.peer_version("aihwkit"),
            note="TorchInferenceRPUConfig, same layer sizes"
            if here
            else f"not run: aihwkit is not installed; to its recorded figure {count / times['chipsim'] / 145_000:.1f}",
            details=details,
        )
    )


# ------------------------------------------------------------------------------------------------------- growth


def test_growth():
    """Time per sample as one size grows, the others at 784-512-512-10, T = 16, batch 128."""
    cases = {
        "T": [({"window": t}, SIZES, BATCH) for t in (16, 64, 256)],
        "batch": [({}, SIZES, b) for b in (16, 128, 1024)],
        "width": [({}, (784, w, w, 10), BATCH) for w in (256, 512, 1024)],
        "depth": [({}, (784, *[512] * d, 10), BATCH) for d in (1, 2, 4)],
    }
    for axis, settings in cases.items():
        found = {}
        for options, sizes, batch in settings:
            snn, x = deployed(sizes, compile=False, **options), images(batch)
            seconds = side_by_side({"run": lambda snn=snn, x=x: snn.outputs(x)}, rounds=5, warmup=1)["run"]
            found[f"{'-'.join(map(str, sizes))}, T = {options.get('window', T)}, batch {batch}"] = 1e6 * seconds / batch
        GROWTH[f"microseconds per sample, uncompiled, by {axis}"] = found


def test_report():
    """Print the table and keep the figures."""
    write(FIGURES, GROWTH)
    print(f"\n{table(FIGURES)}\n")
    for name, values in GROWTH.items():
        print(f"{name}: " + "; ".join(f"{key}: {value:.4g}" for key, value in values.items()))
