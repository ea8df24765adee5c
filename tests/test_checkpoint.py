"""Checkpoints: a run that was stopped and goes on ends where one that was never stopped ends."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.checkpoint import Checkpoint, versions_in
from chipsim.engines import Brian, Engine, Torch
from chipsim.errors import StoredFileError
from chipsim.learning import Labelled
from chipsim.loop import Controller
from chipsim.results import versions

SIZES = (6, 12, 9, 4)
ENGINES: list[Engine] = [Torch(dtype="float64", device="cpu"), Torch(device="cpu"), Brian()]


class StoppedError(Exception):
    """Stands for the end of the process."""


class Lesson:
    """Samples with labels."""

    rng = np.random.default_rng(1)
    inputs = rng.uniform(0, 1.5, (20, SIZES[0]))
    labels = rng.integers(0, SIZES[-1], 20)


def deployed(engine: Engine) -> cs.Deployment:
    """A chip on which every kind of noise is drawn: of membranes, spikes, drivers, reads and writes."""
    effects = (
        cs.Mismatch(sigma=0.2),
        cs.MembraneNoise(sigma=0.1),
        cs.SpikeLoss(rate=0.1),
        cs.DriverNoise(sigma=0.1),
        cs.ReadNoise(sigma=0.02),
        cs.WireResistance(row=20.0, column=20.0, refresh=5),  # solved anew between checkpoints
    )
    design = cs.ChipDesign(circuit=cs.IF(soft_reset=True), device=cs.RRAM_MILO_2021, effects=effects, headroom=10.0)
    chip = cs.fabricate(design, seed=0)
    return cs.deploy(cs.Network.random(SIZES, seed=3), chip, engine=engine, window=5, encoder=cs.Poisson())


def locally(snn: cs.Deployment, lesson: Any = Lesson, **options: Any) -> xr.Dataset:
    return cs.learn(
        snn, Labelled(samples=lesson), rule=cs.Decolle(warm_up=2), batch=8,
        **{"optimiser": cs.Adam(final=0.1), "epochs": 4, "progress": False, **options},
    )  # fmt: skip


def by_host(snn: cs.Deployment, lesson: Any = Lesson, **options: Any) -> xr.Dataset:
    return cs.train_in_the_loop(
        snn, lesson, method=cs.Tandem(), optimiser=cs.Adam(final=0.1), batch=8, progress=False,
        **{"epochs": 4, **options},
    )  # fmt: skip


def normalised(snn: cs.Deployment, **options: Any) -> xr.Dataset:
    return by_host(snn, batch_norm=True, dropout=0.2, **options)


def same(ours: Any, theirs: Any, last: float) -> None:
    """Equal but for the last bits, which BLAS makes depend on where an array lies in memory."""
    np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), rtol=last, atol=last)


def stop_after(epochs: int) -> Callable[[int], None]:
    def on_epoch(epoch: int) -> None:
        if epoch + 1 == epochs:
            raise StoppedError

    return on_epoch


@pytest.mark.parametrize("engine", ENGINES, ids=["float64", "float32", "Brian"])
@pytest.mark.parametrize("way", [locally, by_host, normalised])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    way: Callable[..., xr.Dataset], engine: Engine, tmp_path: Path
) -> None:
    last = 1e-5 if getattr(engine, "dtype", "") == "float32" else 1e-12
    whole = deployed(engine)
    expected = way(whole)
    path = tmp_path / "run.checkpoint"
    for epoch in (1, 3):
        with pytest.raises(StoppedError):
            way(deployed(engine), checkpoint=path, on_epoch=stop_after(epoch))
    snn, seen = deployed(engine), []
    found = way(snn, checkpoint=path, on_epoch=seen.append)
    assert seen == [3]
    xr.testing.assert_allclose(found, expected, rtol=last)
    assert found.attrs == expected.attrs
    for ours, theirs in zip(snn.cells, whole.cells, strict=True):
        for field in dataclasses.fields(ours):
            same(getattr(ours, field.name), getattr(theirs, field.name), last)
    assert snn.time == whole.time
    same(snn.outputs(Lesson.inputs), whole.outputs(Lesson.inputs), last)
    assert str(snn.effect_report()) == str(whole.effect_report())

    again = deployed(engine)
    assert way(again, checkpoint=path, on_epoch=stop_after(1)).identical(found)  # all is done: nothing is run
    same(again.outputs(Lesson.inputs), whole.outputs(Lesson.inputs), last)


@pytest.mark.parametrize("engine", ENGINES[::2], ids=["float64", "Brian"])
@pytest.mark.parametrize("way", [locally, by_host, normalised])
def test_a_run_that_was_stopped_within_an_epoch_loses_no_more_than_the_last_piece(
    way: Callable[..., xr.Dataset], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of one batch, of which the run is stopped in the middle of the eighth: epoch 3, second of 3 batches."""
    monkeypatch.setattr("chipsim.checkpoint.FIRST", 1)
    monkeypatch.setattr("chipsim.checkpoint.EVERY", 0.0)
    expected = way(whole := deployed(engine))
    run, path, batches = cs.Deployment.run, tmp_path / "run.checkpoint", []

    def counted(self: cs.Deployment, presented: Any, **options: Any) -> None:
        def some() -> Any:
            for batch in presented:
                batches.append(batch.numbers)
                if len(batches) == 8:
                    raise StoppedError
                yield batch

        run(self, some(), **options)

    monkeypatch.setattr(cs.Deployment, "run", counted)
    with pytest.raises(StoppedError):
        way(deployed(engine), checkpoint=path)
    snn = deployed(engine)
    found = way(snn, checkpoint=path)
    assert batches[7] == batches[8] == range(48, 56)
    assert len(batches) == 4 * 3 + 1
    xr.testing.assert_allclose(found, expected, rtol=1e-12)
    for ours, theirs in zip(snn.cells, whole.cells, strict=True):
        same(ours.g, theirs.g, 1e-12)
    assert str(snn.effect_report()) == str(whole.effect_report())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 5}, "epochs 4, not 5"),
        ({"batch_norm": True}, "batch norm false, not true"),
        ({"dropout": 0.2}, "dropout 0.0, not 0.2"),
        ({"seed": np.int64(1)}, "seed 0, not 1"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    by_host(deployed(ENGINES[0]), checkpoint=path)
    with pytest.raises(StoredFileError, match=words):
        by_host(deployed(ENGINES[0]), checkpoint=path, **options)


def test_a_snapshot_of_learning_is_not_edited_by_what_follows() -> None:
    snn = deployed(ENGINES[0])
    controller = Controller(snn, cs.Direct(), cs.SGD(lr=0.1))
    before = controller.snapshot()
    for _ in range(2):
        controller.write(0, snn.cells[0].wanted * 0.0 + 1.0, 0.0)
        assert controller.writes[0] > 0
        controller.restore(before)
        assert not controller.writes.any()


def test_a_checkpoint_of_other_neurons_or_gains_is_refused(tmp_path: Path) -> None:
    def placed(avoid: cs.Avoid | None = None, gain: float = 1.0) -> cs.Deployment:
        chip = cs.fabricate(cs.ChipDesign(circuit=cs.IF(soft_reset=True), effects=(cs.Mismatch(sigma=0.2),)), seed=0)
        snn = cs.deploy(cs.Network.random(SIZES, seed=3), chip, engine=ENGINES[0], window=5, avoid=avoid)
        snn.gains = tuple(gain for _ in snn.gains)
        return snn

    path = tmp_path / "run.checkpoint"
    by_host(placed(), checkpoint=path)
    by_host(placed(), checkpoint=path)
    for other, words in ((placed(cs.Avoid(neurons=[0, 1])), "neurons"), (placed(gain=1.5), "gains")):
        with pytest.raises(StoredFileError, match=f"no checkpoint of this run \\({words}"):
            by_host(other, checkpoint=path)


def test_a_run_that_goes_on_with_another_source_says_so_and_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    first = Checkpoint(path, {"a": 1})
    first.versions = json.dumps({"source": "before"})
    first.save(1.0)
    second = Checkpoint(path, {"a": 1})
    with pytest.warns(UserWarning, match="begun by other versions"):
        assert second.load(0.0) == 1.0
    second.save(2.0)
    [kept] = versions_in(path)
    assert json.loads(kept) == [json.loads(json.dumps(versions())), {"source": "before"}]
    assert versions_in(tmp_path / "none") == []


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_said(damage: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    by_host(deployed(ENGINES[0]), checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(StoredFileError, match="cannot be read as a checkpoint"):
        by_host(deployed(ENGINES[0]), checkpoint=path)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    by_host(deployed(ENGINES[0]), checkpoint=path)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StoredFileError, match="damaged"):
        by_host(deployed(ENGINES[0]), checkpoint=path)


def test_other_samples_are_another_run(tmp_path: Path) -> None:
    class Other(Lesson):
        inputs = Lesson.inputs + 0.01

    for way, name in ((by_host, "samples"), (locally, "first batch")):
        path = tmp_path / name
        with pytest.raises(StoppedError):
            way(deployed(ENGINES[0]), checkpoint=path, on_epoch=stop_after(1))
        with pytest.raises(StoredFileError, match=f"no checkpoint of this run \\({name} "):
            way(deployed(ENGINES[0]), checkpoint=path, lesson=Other())


def test_a_chip_that_has_gone_on_is_not_put_back(tmp_path: Path) -> None:
    snn, path = deployed(ENGINES[0]), tmp_path / "run.checkpoint"
    by_host(snn, checkpoint=path)
    with pytest.raises(StoredFileError, match="clock"):
        by_host(snn, checkpoint=path)


def test_a_place_where_no_file_can_be_is_said_before_anything_is_learned(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "run.checkpoint"):
        snn = deployed(ENGINES[0])
        with pytest.raises(StoredFileError, match="a folder that exists"):
            by_host(snn, checkpoint=path)
        assert snn.time == 0


def test_a_checkpoint_without_what_is_needed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    Checkpoint(path, {"a": 1}).save((1.0, None))
    with pytest.raises(StoredFileError, match="another version of chipsim"):
        Checkpoint(path, {"a": 1}).load((1.0, [2.0]))
    with pytest.raises(StoredFileError, match="no checkpoint of this run"):
        Checkpoint(path, {"a": 2}).load((1.0, None))


def test_a_full_disk_is_said_and_the_checkpoint_before_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.checkpoint"
    kept = Checkpoint(path, {"a": 1})
    kept.save((1.0, np.arange(3)))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoredFileError, match="No space left on device; free space there"):
        kept.save((2.0, np.arange(3)))
    found = kept.load((0.0, np.zeros(0)))
    assert found is not None
    assert found[0] == 1.0
    assert found[1].tolist() == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["run.checkpoint"]


def learned(snn: cs.Deployment) -> None:
    """Learn in the read-out; by pulses that are gathered in a memory, where cells answer to them."""
    writer = cs.Accumulate() if snn.chip.design.device.pulses else cs.Direct()
    options: dict[str, Any] = {"optimiser": cs.SGD(lr=0.05), "update": "sample", "progress": False, "layers": (-1,)}
    cs.learn(snn, Labelled(samples=Lesson), rule=cs.Delta(warm_up=2), writer=writer, **options)


ECRAM: dict[str, Any] = {"device": cs.ECRAM_MO_KIM_2019, "pair": "reference"}
PCM: dict[str, Any] = {"device": cs.PCM_NANDAKUMAR_2019}


@pytest.mark.parametrize(
    ("cells", "seeds", "engine", "other"),
    [
        (ECRAM, (1,), ENGINES[0], ENGINES[2]),
        (ECRAM, (1,), ENGINES[2], ENGINES[0]),
        (PCM, (1,), ENGINES[0], ENGINES[0]),
        (PCM, (1, 2), ENGINES[0], ENGINES[0]),
    ],
    ids=["float64", "Brian", "PCM", "two chips"],
)
def test_a_stored_deployment_goes_on_as_the_one_that_was_stored(
    cells: dict[str, Any], seeds: tuple[int, ...], engine: Engine, other: Engine, tmp_path: Path
) -> None:
    design = cs.ChipDesign(
        circuit=cs.CurrentLIF(t_refractory=0.0), **cells,
        effects=(cs.Mismatch(sigma=0.2), cs.TelegraphNoise(share=0.2), cs.WireResistance(row=5.0, column=5.0)),
    )  # fmt: skip
    chips = [cs.fabricate(design, seed) for seed in seeds]

    def again(**options: Any) -> cs.Deployment:
        return cs.deploy(cs.Network.random(SIZES, seed=3), chips, **{"engine": engine, "window": 5, **options})

    snn, path = again(), tmp_path / "learned.safetensors"
    learned(snn)
    snn.wait(1e4)
    snn.compensate()
    snn.follow_temperature([1e4, 2e4], [300.0, 320.0])
    snn.save(path)
    kept = snn.snapshot()
    for loaded, last in ((again(), 1e-12), (again(engine=other, verify=True), 1e-9)):
        before = loaded.outputs(Lesson.inputs)
        loaded.load(path)
        assert loaded.temperature == snn.temperature
        assert loaded.time == snn.time
        drifts = snn.chip.design.device.ages
        for ours, theirs in zip(loaded.gains, snn.gains, strict=True):
            same(ours, theirs, last)
            assert bool(np.all(to_numpy(ours) > 1.01)) == drifts
        found, expected = loaded.outputs(Lesson.inputs), snn.outputs(Lesson.inputs)
        np.testing.assert_allclose(found, expected, rtol=last, atol=last)
        assert np.abs(before - expected).max() > 0.01
        snn.restore(kept)  # back to when it was stored
    loaded = again()
    loaded.load(path)
    for each in (snn, loaded):
        assert (each.cells[-1].pending is not None) == (cells is ECRAM)
        assert each.cells[0].pending is None
        each.wait(5e3)
        assert 305.0 < each.temperature < 315.0
        learned(each)
    for ours, theirs in zip(loaded.cells, snn.cells, strict=True):
        for field in dataclasses.fields(ours):
            if getattr(theirs, field.name) is not None:
                same(getattr(ours, field.name), getattr(theirs, field.name), 1e-12)
    assert str(loaded.effect_report()) == str(snn.effect_report())


def test_a_deployment_is_not_loaded_onto_another(tmp_path: Path) -> None:
    path, networks = tmp_path / "learned.safetensors", [cs.Network.random(SIZES, seed=seed) for seed in (3, 4)]
    chips = [cs.fabricate(cs.ChipDesign(), seed=seed) for seed in (0, 1)]
    snn = cs.deploy(networks[0], chips[0], engine=ENGINES[0])
    with pytest.raises(StoredFileError, match="there is no file"):
        snn.load(path)
    snn.save(path)
    for other, words in (
        (cs.deploy(networks[1], chips[0], engine=ENGINES[0]), "network"),
        (cs.deploy(networks[0], chips[1], engine=ENGINES[0]), "chips"),
        (cs.deploy(networks[0], chips[0], engine=ENGINES[0], avoid=cs.Avoid(tiles=[0])), "tiles"),
        (cs.deploy(networks[0], chips[0], engine=ENGINES[1]), "precision"),
        (cs.deploy(networks[0], chips[0], engine=ENGINES[0], step=2e-3), "step"),
        (cs.deploy(networks[0], chips[0], engine=ENGINES[0], seed=1), "seed of the deployment"),
    ):
        with pytest.raises(
            StoredFileError, match=rf"no deployment of this network and chip \({words}.*deploy as it was"
        ):
            other.load(path)
    chips[0].save(tmp_path / "chip.h5")
    path.write_bytes(path.read_bytes()[:-10])
    for unreadable in (path, tmp_path / "chip.h5"):
        with pytest.raises(StoredFileError, match=r"cannot be read as a deployment .*give a file of its own"):
            snn.load(unreadable)


def test_learning_from_what_was_loaded_does_not_go_on_with_a_checkpoint_of_another(tmp_path: Path) -> None:
    paths, checkpoint = [tmp_path / "a", tmp_path / "b"], tmp_path / "run.checkpoint"
    for rate, path in zip((0.01, 0.02), paths, strict=True):
        snn = deployed(ENGINES[0])
        locally(snn, optimiser=cs.Adam(lr=rate), epochs=1)
        snn.save(path)
    for path in paths[:1] * 2 + paths[1:]:
        snn = deployed(ENGINES[0])
        snn.load(path)
        if path is paths[0]:
            locally(snn, checkpoint=checkpoint)
        else:
            with pytest.raises(StoredFileError, match="no checkpoint of this run \\(loaded"):
                locally(snn, checkpoint=checkpoint)
