import dataclasses
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import chipsim as cs
from chipsim import results, writers
from chipsim.arrays import to_numpy
from chipsim.errors import ParameterError
from chipsim.loop import SGD, Adam
from chipsim.network import Conv2d, Dense, Network
from chipsim.periphery import Periphery
from chipsim.quantity import declarations

INFERENCE = ["spike", "route", "drive", "synapse", "code", "conversion"]
LEARNING = [*INFERENCE, "count", "look", "signal", "memory", "write", "target"]
LISTS = {"spikesim": cs.SPIKESIM_PRICES, "dynap": cs.DYNAP_SE1_PRICES}
PRICES = cs.SPIKESIM_PRICES
NETWORK = cs.Network.random((6, 5, 3), seed=2)
RNG = np.random.default_rng(0)
INPUTS = RNG.uniform(-1, 2, (7, 6)) * (RNG.random((7, 6)) < 0.7)
SAMPLES = SimpleNamespace(inputs=INPUTS, labels=np.arange(7) % 3)


TORCH = cs.Torch(dtype="float64", device="cpu", compile=False)


def deployed(network=NETWORK, engine=TORCH, encoder=None, chips=None, **design):
    design = cs.ChipDesign(**{"device": cs.RRAM_MILO_2021, "rows": 4, "columns": 4, **design})
    chip = cs.fabricate(design, seed=3) if chips is None else [cs.fabricate(design, seed=seed) for seed in chips]
    return cs.deploy(network, chip, window=8, engine=engine, encoder=encoder)


class Lessons:
    """Targets of a teacher for the samples."""

    readout = "labels"

    def __len__(self):
        return len(INPUTS)

    def batches(self, size, epoch=0):
        rng = np.random.default_rng(epoch)
        for first in range(0, len(INPUTS), size):
            labels = SAMPLES.labels[first : first + size]
            yield INPUTS[first : first + size], labels, (rng.random((len(labels), 5)), np.eye(3)[labels])


def learnt(snn, **options):
    options = {"rule": cs.LocalTandem(warm_up=4), "optimiser": Adam(lr=0.1), **options}
    return cs.learn(snn, Lessons(), progress=False, **options)


# ------------------------------------------------------------------------------------------------------------- prices


@pytest.mark.parametrize("name", LISTS)
def test_every_price_has_a_unit_a_source_and_a_node(name):
    prices = LISTS[name]
    declared = declarations(prices)
    assert set(declared) == {field.name for field in dataclasses.fields(prices)}
    for name, one in declared.items():
        assert one.unit in ("J", "s", "V", "Hz"), name
        assert re.search(r"\b\d+ nm\b", one.source), f"{name} names no technology node"
        assert len(re.sub(r"\d+ nm", "", one.source)) > 20, f"{name} names no work"
        assert "design choice" not in one.source
        assert getattr(prices, name) > 0
        assert prices.ledger[name] == {"value": getattr(prices, name), "unit": one.unit, "source": one.source}


def test_a_changed_price_is_no_longer_its_source_s():
    changed = dataclasses.replace(PRICES, spike=1e-12).ledger
    assert changed["spike"]["source"] == "given by the user"
    assert changed["route"] == PRICES.ledger["route"]
    with pytest.raises(ParameterError, match=r"Prices\.spike = -1 J is outside"):
        cs.Prices(spike=-1.0)


# ---------------------------------------------------------------------------------------------------------- inference


@pytest.mark.parametrize("engine", [cs.Brian(), TORCH], ids=["brian", "torch"])
def test_an_inference_is_what_a_hand_computes(engine):
    """Two layers, from recorded spikes and drives, one cell after another."""
    snn, numbers = deployed(engine=engine), deployed(engine=engine)
    cost = cs.inference_cost(snn, SAMPLES)
    seen = [numbers.present(INPUTS, cs.Record(layer=k, spikes=True, rows=True)) for k in (0, 1)]
    for layer, record in enumerate(seen):
        g, rows, columns = (
            to_numpy(snn.cells[layer].g),
            snn.placement.layers[layer].rows,
            snn.placement.layers[layer].columns,
        )
        drive, spikes, outputs = record.drive.to_numpy(), record.spikes.to_numpy(), columns
        count = dict.fromkeys(INFERENCE, 0)
        joules = 0.0
        for sample in range(7):
            for row in range(rows - snn.placement.layers[layer].bias_rows):
                count["code"] += layer == 0 and drive[sample, 0, row] != 0
            for step in range(8):
                count["spike"] += sum(float(fired) for fired in spikes[sample, step])
                for row in range(rows):
                    x = drive[sample, step, row]
                    if x != 0:
                        count["drive"] += math.ceil(columns / 4)
                        count["synapse"] += columns
                    for column in range(columns):
                        joules += (0.2 * x) ** 2 * (g[0, row, column] + g[1, row, column]) * 104e-9
        count["route"] = count["spike"]
        count["conversion"] = 7 * outputs if layer == 1 else 0
        energy = {name: n * getattr(PRICES, name, 0.0) for name, n in count.items()}
        energy["synapse"] = joules
        for name in INFERENCE:
            at = {"layer": layer, "part": name}
            assert float(cost.operations.sel(at)) == pytest.approx(count[name] / 7, rel=1e-12, abs=0)
            assert float(cost.energy.sel(at)) == pytest.approx(energy[name] / 7, rel=1e-12, abs=0)
    assert cost.part.to_numpy().tolist() == INFERENCE
    assert cost.operations.sel(part="spike").sum() > 0
    assert cost.latency == 8 * 1e-3
    assert cost.accuracy == numbers.accuracy(SAMPLES)
    assert snn.time == pytest.approx(7 * 8e-3)


def test_it_is_a_dataset_that_says_where_it_comes_from(tmp_path):
    snn = deployed()
    cost = cs.inference_cost(snn, SAMPLES, prices=cs.DYNAP_SE1_PRICES)
    results.validate(cost)
    assert cost.attrs["chip_hash"] == snn.chip.hash
    assert cost.attrs["node"] == "180 nm"
    assert json.loads(cost.attrs["prices"])["DynapPrices"]["spike"]["value"] == 767e-12
    results.write(results.label(cost), tmp_path / "cost.h5")
    xr.testing.assert_identical(results.open(tmp_path / "cost.h5").energy, cost.energy)


def test_a_convolution_is_counted_position_by_position():
    """Groups, padding, stride, pooling, residual addition and tiles, beside loops over rows and positions."""
    layers = (
        Conv2d(weight=RNG.normal(size=(4, 1, 3, 3)), bias=RNG.normal(size=4), padding=1, groups=2, pool=2),
        Conv2d(weight=RNG.normal(size=(4, 4, 3, 3)), bias=np.zeros(4), padding=1, shortcut=0),
        Dense(weight=RNG.normal(size=(16, 3)), bias=np.zeros(3)),
    )
    snn = deployed(Network(layers, shape=(2, 4, 4)), rows=5, columns=3)
    images = RNG.uniform(0, 2, (3, 2, 4, 4)) * (RNG.random((3, 2, 4, 4)) < 0.4)
    cost = cs.inference_cost(snn, SimpleNamespace(inputs=images, labels=np.zeros(3, int)))
    g, bias_rows = to_numpy(snn.cells[0].g).sum(axis=0), snn.placement.layers[0].bias_rows
    pooled = images.reshape(3, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    drives = pairs = joules = 0.0
    for image in np.pad(pooled, ((0, 0), (0, 0), (1, 1), (1, 1))):
        for y in range(2):
            for x in range(2):
                for group in range(2):
                    patch = image[group, y : y + 3, x : x + 3].ravel()
                    drives += np.count_nonzero(patch) * 1  # two columns of a group stand on one tile
                    pairs += np.count_nonzero(patch) * 2
                    joules += sum(v * v * g[row, 2 * group : 2 * group + 2].sum() for row, v in enumerate(patch))
                drives += bias_rows * 2
                pairs += bias_rows * 4
                joules += g[9:].sum()
    part = cost.sel(layer=0)
    assert float(part.operations.sel(part="drive")) == pytest.approx(drives * 8 / 3, rel=1e-12, abs=0)
    assert float(part.operations.sel(part="synapse")) == pytest.approx(pairs * 8 / 3, rel=1e-12, abs=0)
    assert float(part.energy.sel(part="synapse")) == pytest.approx(joules * 8 / 3 * 0.2**2 * 104e-9, rel=1e-12, abs=0)
    spikes, routed = (cost.operations.sel(part=name).to_numpy() for name in ("spike", "route"))
    assert spikes[0] > 0
    np.testing.assert_array_equal(routed, spikes * [2, 1, 1])  # layer 0 goes to two arrays
    with pytest.raises(ParameterError, match=r"layer 0 is read 4 times in a step, 0\.0003 s each"):
        cs.inference_cost(
            snn, SimpleNamespace(inputs=images, labels=np.zeros(3, int)), prices=cs.Prices(read_time=3e-4)
        )


def test_spikes_as_inputs_need_no_converter_and_columns_may_have_one_for_every_step():
    coded, spiked = deployed(), deployed(encoder=cs.Poisson())
    converting = deployed(effects=(cs.Converters(dac_range=4.0),))
    found = [cs.inference_cost(snn, SAMPLES).operations for snn in (coded, spiked, converting)]
    assert found[0].sel(part="code", layer=0) == pytest.approx(np.count_nonzero(INPUTS) / 7)
    assert found[1].sel(part="code").sum() == 0
    np.testing.assert_array_equal(found[0].sel(part="conversion"), [0, 3])
    np.testing.assert_array_equal(found[2].sel(part="conversion"), [5 * 8, 3 * 8])


def test_chips_side_by_side_cost_what_each_costs_alone():
    effects = (cs.Mismatch(sigma=0.3),)
    together = deployed(effects=effects, chips=(3, 5))
    cost = cs.inference_cost(together, SAMPLES)
    assert cost.energy.dims == ("chip", "layer", "part")
    for seed in (3, 5):
        alone = cs.inference_cost(deployed(effects=effects, chips=(seed,)), SAMPLES)
        for name in ("operations", "energy", "accuracy"):
            np.testing.assert_allclose(cost[name].sel(chip=seed), alone[name], rtol=1e-12)
    assert not np.array_equal(cost.energy[0], cost.energy[1])


def test_samples_that_cannot_be_are_refused():
    snn = deployed()
    for samples in (
        SimpleNamespace(inputs=np.zeros((0, 6)), labels=np.zeros(0, int)),
        SimpleNamespace(inputs=INPUTS, labels=np.zeros(3, int)),
    ):
        with pytest.raises(ParameterError, match="at least one sample and a label for each"):
            cs.inference_cost(snn, samples)


# ----------------------------------------------------------------------------------------------------------- learning


def test_an_epoch_is_what_a_hand_computes():
    snn = deployed(learning=cs.LearningCircuits(target_bits=6))
    history = learnt(snn, batch=3, epochs=2)
    cost = cs.learning_cost(snn, history)
    results.validate(cost)
    assert cost.updates == 3
    assert cost.part.to_numpy().tolist() == LEARNING
    for epoch in (1, 2):
        for layer, (rows, columns) in enumerate(((7, 5), (6, 3))):
            at = {"epoch": epoch, "layer": layer}
            spikes, events, squares, writes = (
                float(history[name].sel(at)) for name in ("spikes", "events", "squares", "writes")
            )
            assert writes > 0
            g, wear = to_numpy(snn.cells[layer].g), to_numpy(snn.cells[layer].wear)
            met = (g * wear).sum() / wear.sum()
            sideways = math.ceil(columns / 4)
            siemens = g.sum(axis=(0, 2))
            count = {
                "spike": spikes,
                "route": spikes,
                "drive": (events + 7 * 8) * sideways,
                "synapse": (events + 7 * 8) * columns,
                "code": events / 8 if layer == 0 else 0,
                "conversion": 0 if layer == 0 else 7 * 3 * 4,
                "count": spikes,
                "look": 7 * 5 * 4 if layer == 0 else 0,
                "signal": 7 * columns * 4,
                "memory": 3 * rows * columns * (1 + 2),
                "write": writes,
                "target": 7 * 5 * 6 if layer == 0 else 7 * 2,
            }
            energy = {name: n * getattr(PRICES, name, 0.0) for name, n in count.items()}
            energy["synapse"] = 0.2**2 * 104e-9 * (squares * siemens[:-1].mean() + 7 * 8 * siemens[-1])
            energy["write"] = 0.9**2 * 100e-6 * writes * met
            for name in LEARNING:
                assert float(cost.operations.sel(part=name, **at)) == pytest.approx(count[name], rel=1e-12, abs=0)
                assert float(cost.energy.sel(part=name, **at)) == pytest.approx(energy[name], rel=1e-12, abs=0)
        turns = 0.0
        for layer, (rows, columns) in enumerate(((7, 5), (6, 3))):
            each = float(history.writes.sel(epoch=epoch, layer=layer)) / 3
            turns += 3 * max(min(rows, each), each / (2 * columns))
        expected = 7 * 8e-3 + 7 * (5 * 6 + 2) / 743.6e6 + turns * 100e-6
        assert float(cost.latency.sel(epoch=epoch)) == pytest.approx(expected, rel=1e-12, abs=0)
    np.testing.assert_allclose(cost.wear, [to_numpy(cells.wear).mean() for cells in snn.cells])
    np.testing.assert_array_equal(cost.worn, 0)


def operations(rule, part, snn=None, layers=None, **options):
    snn = snn or deployed()
    cost = cs.learning_cost(snn, learnt(snn, rule=rule, batch=7, layers=layers, **options))
    return cost.operations.sel(part=part, epoch=1).to_numpy().tolist()


def test_each_rule_costs_what_it_reads():
    online, offline, trace = cs.LocalTandem(warm_up=4), cs.LocalTandemOffline(), cs.LocalTandemTrace()
    assert operations(online, "look") == [7 * 5 * 4, 0]
    assert operations(trace, "look") == [7 * 5 * 8, 0]
    assert operations(online, "conversion") == [0, 7 * 3 * 4]
    assert operations(offline, "conversion") == [7 * 5 * 8, 7 * 3]  # its membranes too, the value at the end
    assert operations(cs.Decolle(warm_up=4), "target") == [0, 7 * 2]
    assert operations(cs.Delta(warm_up=4), "signal") == [0, 7 * 3 * 4]
    assert operations(cs.Delta(warm_up=4), "count") == operations(online, "count", layers=(-1,)) == [0, 0]
    assert operations(online, "target", layers=(0,)) == [7 * 5 * 32, 0]
    assert operations(online, "memory", layers=(-1,)) == [0, 6 * 3 * 3]
    converting = deployed(effects=(cs.Converters(dac_range=4.0),))
    assert operations(online, "conversion", snn=converting) == [7 * 5 * 8, 7 * 3 * 8]


RULES = (cs.LocalTandem(warm_up=4), cs.LocalTandemOffline(), cs.LocalTandemTrace(), cs.Decolle(warm_up=4))


@pytest.mark.parametrize("rule", [*RULES, cs.Delta(warm_up=4)], ids=lambda rule: type(rule).__name__)
def test_errors_are_counted_as_the_circuits_make_them(rule, monkeypatch):
    made, sender = [0, 0], Periphery.sender

    def counted(circuits, *arguments):
        send = sender(circuits, *arguments)

        def sent(error):
            made[circuits.index] += error.size if isinstance(error, np.ndarray) else error.numel()
            return send(error)

        return sent

    monkeypatch.setattr(Periphery, "sender", counted)
    snn = deployed(learning=cs.LearningCircuits(error_bits=6))
    assert operations(rule, "signal", snn=snn) == made


def test_a_read_out_that_learns_from_the_teacher_gets_its_values_streamed():
    snn = deployed()
    history = learnt(snn).assign_attrs(readout="teacher")
    assert cs.learning_cost(snn, history).operations.sel(part="target", epoch=1).to_numpy().tolist() == [
        7 * 5 * 32,
        7 * 3 * 32,
    ]


def test_memories_are_paid_by_update_and_by_who_keeps_them():
    pulsed = {"device": cs.ECRAM_MO_KIM_2019, "pair": "reference"}
    expected = {
        (cs.Direct(), Adam(), "batch"): 1 * 3,
        (cs.Direct(), SGD(), "sample"): 7 * 1,
        (cs.PulseTrain(), SGD(), "batch"): 0,
        (cs.Accumulate(), SGD(), "step"): 7 * 4 * 1,
        (cs.WriteVerify(), Adam(), "batch"): 3,
    }
    for (writer, optimiser, update), words in expected.items():
        snn = deployed(**pulsed)
        found = cs.learning_cost(snn, learnt(snn, writer=writer, optimiser=optimiser, update=update))
        assert found.operations.sel(part="memory", epoch=1).to_numpy().tolist() == [words * 35, words * 18]


def test_writes_take_turns_by_row_and_by_pulses():
    for pair, at_once in (("minimum", 2), ("reference", 1)):
        snn = deployed(pair=pair)
        history = learnt(snn)
        for writes, turns in ((2, 2 + 2), (8, 7 + 6), (700, (700 / 5 + 700 / 3) / at_once)):
            history["writes"] = history["writes"] * 0.0 + writes
            slow, fast = (cs.learning_cost(snn, history, prices=cs.Prices(pulse_time=t)) for t in (1.0, 0.0))
            assert float(slow.latency[0] - fast.latency[0]) == pytest.approx(turns, rel=1e-9)


def test_updates_are_those_of_learn():
    online, offline = cs.LocalTandem(warm_up=4), cs.LocalTandemTrace()
    cases = (
        (online, "batch", 3, 3),
        (online, "sample", None, 7),
        (online, "step", None, 28),
        (offline, "step", None, 7),
    )
    for rule, update, batch, updates in cases:
        snn = deployed()
        assert cs.learning_cost(snn, learnt(snn, rule=rule, update=update, batch=batch)).updates == updates


def test_every_writer_says_what_it_keeps():
    kept = {kind.__name__ for kind in writers.ALL if kind.words}
    assert kept == {"Direct", "WriteVerify", "Accumulate"}


def test_endurance_is_used_up_by_writes():
    device = dataclasses.replace(cs.RRAM_MILO_2021, endurance=50.0)
    snn = deployed(device=device)
    cost = cs.learning_cost(snn, learnt(snn, update="sample"))
    np.testing.assert_array_equal(cost.worn, [to_numpy(cells.wear).max() / 50 for cells in snn.cells])
    assert (cost.worn > 1 / 50).all()


def test_an_epoch_that_changes_nothing_counts_as_its_inferences():
    """Without noise a sample makes the same spikes in learning as in inference."""
    snn = deployed()
    one = cs.inference_cost(snn, SAMPLES)
    history = cs.learn(snn, SAMPLES, rule=cs.Delta(warm_up=4), optimiser=SGD(lr=0.0), progress=False)
    epoch = cs.learning_cost(snn, history).sel(epoch=1)
    assert history.writes.sum() == 0
    assert one.operations.sel(part="spike", layer=0) > 0
    for part in ("spike", "route", "drive", "synapse", "code"):
        np.testing.assert_allclose(epoch.operations.sel(part=part), 7 * one.operations.sel(part=part), rtol=1e-12)
    assert epoch.latency > 7 * one.latency


POOLED = Network(
    (
        Conv2d(weight=RNG.normal(size=(4, 2, 3, 3)), bias=RNG.normal(size=4), padding=1, pool=2),
        Dense(weight=RNG.normal(size=(4, 3)), bias=np.zeros(3), pool=2),
    ),
    shape=(2, 4, 4),
)


def test_behind_a_pooling_an_epoch_counts_as_its_inferences_too():
    images = RNG.uniform(0, 2, (7, 2, 4, 4)) * (RNG.random((7, 2, 4, 4)) < 0.4)
    samples = SimpleNamespace(inputs=images, labels=SAMPLES.labels)
    snn = deployed(POOLED)
    one = cs.inference_cost(snn, samples)
    history = cs.learn(snn, samples, rule=cs.Delta(warm_up=4), optimiser=SGD(lr=0.0), progress=False)
    epoch = cs.learning_cost(snn, history).sel(epoch=1)
    assert one.operations.sel(part="spike", layer=0) > 0
    np.testing.assert_allclose(epoch.operations.sel(part="code"), 7 * one.operations.sel(part="code"))
    np.testing.assert_allclose(
        epoch.operations.sel(part="drive", layer=1), 7 * one.operations.sel(part="drive", layer=1)
    )
    pooled, window = images.reshape(7, 2, 2, 2, 2, 2).mean(axis=(3, 5)), snn.window
    assert history.inputs.sel(layer=0) == window * np.count_nonzero(images)
    assert history.events.sel(layer=0) == window * np.count_nonzero(pooled)
    np.testing.assert_allclose(history.squares.sel(layer=0), window * (pooled**2).sum())


def test_of_several_chips_the_mean_chip_is_worn():
    device = dataclasses.replace(cs.ECRAM_MO_KIM_2019, endurance=1e4)
    options = {"writer": cs.StochasticPulses(), "optimiser": SGD(lr=1.0), "update": "sample"}

    def worn(*chips):
        snn = deployed(device=device, pair="reference", effects=(cs.Mismatch(sigma=0.2),), chips=chips)
        return cs.learning_cost(snn, learnt(snn, **options)).worn.to_numpy()

    np.testing.assert_allclose(worn(3, 5), (worn(3) + worn(5)) / 2)


def test_of_several_chips_the_mean_chip_is_priced():
    together = deployed(chips=(3, 5))
    history = learnt(together)
    found = cs.learning_cost(together, history)
    np.testing.assert_allclose(found.operations.sel(part="write"), history["writes"] / 2)
    assert found.operations.sel(part="signal", layer=0) == 7 * 5 * 4


def test_every_price_acts_and_by_its_own_share():
    """A change of a price by 10 % moves the total by a tenth of its part, and nothing else."""
    snn = deployed()
    history = learnt(snn)

    def totals(prices):
        one, epoch = cs.inference_cost(snn, SAMPLES, prices=prices), cs.learning_cost(snn, history, prices=prices)
        energies = {f"inference {part}": float(one.energy.sel(part=part).sum()) for part in INFERENCE}
        energies |= {f"learning {part}": float(epoch.energy.sel(part=part).sum()) for part in LEARNING}
        return energies, float(epoch.latency.sum())

    before, latency = totals(PRICES)
    write_time, stream = latency - totals(cs.Prices(pulse_time=0.0))[1], 7 * (5 * 32 + 2) / 743.6e6
    part_of = {"read_time": "synapse", "pulse_voltage": "write", "pulse_time": "write"}
    for name in declarations(PRICES):
        after, slower = totals(dataclasses.replace(PRICES, **{name: 1.1 * getattr(PRICES, name)}))
        gain = 1.1**2 if name == "pulse_voltage" else 1.1
        moved = {at: after[at] / value for at, value in before.items() if after[at] != value}
        part = part_of.get(name, name)
        assert {at.split()[1] for at in moved} == (set() if name == "link" else {part}), name
        assert list(moved.values()) == pytest.approx([gain] * len(moved), rel=1e-12, abs=0)
        change = {"pulse_time": 0.1 * write_time, "link": stream * (1 / 1.1 - 1)}.get(name, 0.0)
        assert slower - latency == pytest.approx(change, rel=1e-6, abs=1e-15), name


def test_what_is_not_of_learn_is_refused():
    snn = deployed()
    history = learnt(snn)
    for wrong, sentence in (
        (history.drop_vars("events"), "there is no events"),
        (history.drop_attrs(), "there is no samples, batch, update, readout, layers, rule, writer, optimiser"),
        (history.isel(layer=[0]), "has 1 layers, but the network has 2"),
        (history.assign_attrs(chip_hash="0"), "of another chip"),
        (
            history.assign_attrs(rule='{"type":"Mine"}'),
            "no prices for Mine, the rule of this history",
        ),
    ):
        with pytest.raises(ParameterError, match=sentence):
            cs.learning_cost(snn, wrong)
