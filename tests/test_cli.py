"""The chipsim command: names, exit codes, what it prints."""

import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import chipsim as cs
from chipsim import devices, results
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import DYNAP_SE2, IF
from chipsim.effects import Mismatch
from chipsim.population import bench
from chipsim.streams import stream
from chipsim.study import Study, run
from studies import cli, doctor, show

FIXTURE = Path(__file__).parent / "studies_fixture"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the toy study."""
    out = tmp_path_factory.mktemp("finished") / "toy.h5"
    command = ["study", "run", "toy", "--chips", "2", "--set", "sigma=0,0.2", "--jobs", "2", "--out", str(out)]
    environment = {**os.environ, "CHIPSIM_STUDIES": str(FIXTURE)}
    subprocess.run([sys.executable, "-m", "studies.cli", *command], env=environment, check=True, capture_output=True)
    return out


def test_help_lists_the_commands(chipsim: Run) -> None:
    code, out, _ = chipsim("--help")
    assert code == 0
    for word in ("demo", "study", "show", "data", "export", "doctor", "--version", "--debug"):
        assert word in out


@pytest.mark.parametrize(
    "command",
    [["study"], ["data"], ["show"], ["study", "run"], ["study", "show"], ["show", "device"], ["show", "circuit"],
     ["export", "spice"], ["demo"], ["doctor"]],
)  # fmt: skip
def test_every_command_has_help(command: list[str], chipsim: Run) -> None:
    code, out, _ = chipsim(*command, "--help")
    assert code == 0
    assert "Usage: chipsim " + " ".join(command) in out


def test_version(chipsim: Run) -> None:
    assert chipsim("--version")[:2] == (0, f"chipsim {importlib.metadata.version('chipsim')}\n")


def test_the_command_line_starts_fast_and_imports_nothing_heavy() -> None:
    heavy = ("torch", "xarray", "numpy", "brian2", "chipsim.study")
    script = f"import sys; from studies import cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_list_shows_hyphens_factors_and_defaults(chipsim: Run) -> None:
    code, out, _ = chipsim("study", "list")
    assert code == 0
    assert "Does the machinery work?" in out
    assert "accuracy-vs-mismatch" in out
    assert "accuracy_vs_mismatch" not in out
    assert "--set sigma=0,0.5 " in out
    assert "--set samples=100 " in out


def test_names_take_hyphens_and_underscores(chipsim: Run, tmp_path: Path) -> None:
    assert cli.shown("accuracy_vs_mismatch") == "accuracy-vs-mismatch"
    assert cli.load_study("cost-of-learning") is cli.load_study("cost_of_learning")
    assert "cli" not in cli.study_names()
    assert "bad" not in cli.study_names(), "a module without STUDY is no study"


def test_run_then_nothing_left_then_show(chipsim: Run, finished: Path) -> None:
    code, out, err = chipsim("study", "run", "toy", "--out", str(finished))
    assert code == 0
    assert "nothing is left to do" in err
    assert "90.00" in out
    assert f"chipsim study show {finished}" in out
    code, out, _ = chipsim("study", "show", str(finished))
    assert code == 0
    assert finished.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    rows = [line.split() for line in out.splitlines() if line.startswith("0.2")]
    array = results.open(finished)["accuracy"].sel(sigma=0.2, rule="online")
    expected = []
    for stage in ("before", "after"):
        chips = 100 * array.sel(stage=stage)
        expected += [f"{float(x):.2f}" for x in (chips.mean(), chips.std(ddof=1), chips.min())]
    assert rows == [["0.2", "online", *expected]]


@pytest.mark.parametrize(
    "words",
    [
        "",
        " --dataset mnist --chips 1 --seed 3 --set samples=5",
        " --chips 2 --set sigma=0.123456789,0.5",
    ],
)
def test_a_result_says_the_shortest_command_that_makes_it(words: str, chipsim: Run, tmp_path: Path) -> None:
    command = f"chipsim study run toy{words}"
    out = tmp_path / "a.h5"
    chipsim(*command.split()[1:], "--out", str(out))
    shown = chipsim("study", "show", str(out))[1]
    assert f"\nMade by: {command}\n" in shown
    renamed = results.open(out).assign_attrs(study="forgotten")
    results.write(renamed, out)
    code, shown, _ = chipsim("study", "show", str(out))
    assert (code, "Made by" in shown) == (0, False)


def test_an_option_that_came_since_had_its_default_and_one_that_went_leaves_no_command() -> None:
    path = Path(cli.__file__).parent / "results" / "accuracy_vs_mismatch.h5"
    found = results.open(path)
    command = cli.made_by(found, path)
    assert command == "chipsim study run accuracy-vs-mismatch --dataset fashion-mnist --chips 8"
    held = json.loads(found.attrs["options"])
    assert held
    assert cli.made_by(found.assign_attrs(options="{}"), path) == command
    assert cli.made_by(found.assign_attrs(options=json.dumps({**held, "gone": 1})), path) == ""


def test_show_draws_where_it_is_told(chipsim: Run, finished: Path, tmp_path: Path) -> None:
    assert chipsim("study", "show", str(finished), "--figure", str(tmp_path / "f.svg"))[0] == 0
    assert (tmp_path / "f.svg").exists()


def test_run_stores_what_xarray_opens(chipsim: Run, tmp_path: Path) -> None:
    code, _, _ = chipsim(
        "study", "run", "toy", "--dataset", "mnist", "--chips", "1", "--seed", "3", "--set", "samples=5"
    )
    assert code == 0
    with xr.open_dataset(tmp_path / "toy-mnist.h5", engine="h5netcdf") as dataset:
        assert dataset.attrs["options"] == '{"samples": 5}'
        assert dataset["chip"].values.tolist() == [3000]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["study", "run", "tyo"], "unknown study 'tyo'; did you mean 'toy'? Known: "),
        (["study", "run", "toy", "--dataset", "minst"], "unknown data set 'minst'; did you mean 'mnist'?"),
        (["study", "run", "toy", "--set", "sgima=1"], "unknown factor or option 'sgima'; did you mean 'sigma'?"),
        (["study", "run", "toy", "--set", "sigma=-1"], "sigma = -1 is outside its valid range 0 to 1"),
        (["study", "run", "toy", "--set", "sigma=high"], "sigma = 'high' is not a number"),
        (["study", "run", "toy", "--set", "sigma=0,,1"], "sigma = '' is not a number"),
        (["study", "run", "toy", "--set", "sigma="], "write --set FACTOR=V1,V2"),
        (["study", "run", "toy", "--set", "sigma"], "write --set FACTOR=V1,V2"),
        (["study", "run", "toy", "--set", "sigma=0", "--set", "sigma=1"], "--set sigma is given twice"),
        (["study", "run", "toy", "--set", "rule=off-line"], "rule = 'off-line' is unknown; did you mean 'offline'?"),
        (["study", "run", "toy", "--set", "samples=1,2"], "samples = '1,2' is not a number"),
        (["study", "run", "toy", "--chips", "0"], "chips must be a whole number from 1 to 1000, not 0"),
        (["study", "run", "toy", "--chips", "two"], "Invalid value for '--chips'"),
        (["study", "run", "toy", "--jobs", "0"], "--jobs must be at least 1, not 0"),
        (["study", "run", "toy", "--seed", "-1"], "seed must be a whole number of at least 0, not -1"),
        (["study", "run", "toy", "--chip", "1"], "No such option: --chip"),
        (["study", "run"], "Missing argument"),
        (["studdy"], "No such command 'studdy'"),
        (["show", "device", "pcm-hermse"], "unknown device 'pcm-hermse'; did you mean 'pcm-hermes'? Known: "),
        (["show", "circuit", "dynap-s2"], "unknown circuit 'dynap-s2'; did you mean 'dynap-se2'? Known: "),
        (["show", "circuit", "lif", "--sigma", "-1"], "Invalid value for '--sigma'"),
        (["data", "get", "minst"], "unknown data set 'minst'; did you mean 'mnist'?"),
        (["export", "spice", "til"], "unknown kind of netlist 'til'; did you mean 'tile'?"),
        (["export", "spice", "tile", "--side", "up"], "unknown side 'up'; "),
        (["demo", "--out", "a.png"], "the figure would be written over the result a.png"),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, chipsim: Run, tmp_path: Path
) -> None:
    code, _, err = chipsim(*arguments)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["study", "show", "missing.h5"], "missing.h5 does not exist"),
        (["export", "spice", "lif", "--duration", "0"], "duration must be a time above 0 s"),
        (["study", "show", "."], ". is a folder"),
        (["study", "run", "toy", "--out", "no/where.h5"], "no is not a folder"),
        (["study", "run", "toy", "--seed", "5", "--out", "FINISHED"], "holds seed 0, not 5"),
        (["study", "run", "toy", "--dataset", "mnist", "--out", "FINISHED"], 'holds dataset "digits", not "mnist"'),
        (["study", "show", "FINISHED", "--figure", "a.xyz"], "cannot draw a figure of type 'xyz'"),
        (["study", "show", "FINISHED", "--figure", "no/a.png"], "cannot write no/a.png"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_1(
    arguments: list[str], sentence: str, chipsim: Run, finished: Path
) -> None:
    code, _, err = chipsim(*(argument.replace("FINISHED", str(finished)) for argument in arguments))
    assert code == 1
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_debug_shows_where(chipsim: Run) -> None:
    code, _, err = chipsim("study", "show", "missing.h5", "--debug")
    assert code == 1
    assert "Traceback" in err


def test_an_unexpected_error_is_one_line(chipsim: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Path) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(results, "open", fail)
    code, _, err = chipsim("study", "show", "a.h5")
    assert (code, err.count("\n")) == (1, 1)
    assert "unexpected ZeroDivisionError: nobody thought of this" in err


def test_ctrl_c_anywhere_is_130(chipsim: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(file: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "open", interrupt)
    code, _, err = chipsim("study", "show", "a.h5")
    assert code == 130
    assert "Traceback" not in err


def test_show_draws_devices_and_circuits_by_name(chipsim: Run, tmp_path: Path) -> None:
    assert chipsim("show", "device", "PCM_HERMES")[:2] == (0, "Figure: pcm-hermes.png\n")
    assert chipsim("show", "device", "ideal", "--figure", "cell.svg")[:2] == (0, "Figure: cell.svg\n")
    assert chipsim("show", "circuit", "brainscales2", "--sigma", "0.1")[:2] == (0, "Figure: brainscales2.png\n")
    assert chipsim("show", "circuit", "Integrator")[0] == 0
    names = {"pcm-hermes.png", "cell.svg", "brainscales2.png", "integrator.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_show_fits_and_draws_measured_cells(chipsim: Run, tmp_path: Path) -> None:
    targets = np.repeat(np.linspace(2e-6, 40e-6, 6), 50)
    measured = pd.DataFrame(
        {"target": targets, "conductance": devices.RRAM_WAN_2022.programme(targets, stream(0, "a"))}
    )
    measured.to_csv(tmp_path / "Lab.csv", index=False)
    code, said, _ = chipsim("show", "device", "Lab.csv")
    assert code == 0
    assert re.match(r"Relaxing from 300 cells, .* explained variance: .* Figure: Lab.png$", " ".join(said.split()))
    code, _, error = chipsim("show", "device", "none.csv")
    assert code == 1
    assert "none.csv cannot be read as CSV" in error
    measured.drop(columns="target").to_csv(tmp_path / "half.csv", index=False)
    code, _, error = chipsim("show", "device", "half.csv")
    assert code == 1
    assert "half.csv has the columns conductance; give target, conductance (states)" in " ".join(error.split())
    assert {path.name for path in tmp_path.iterdir()} == {"Lab.csv", "half.csv", "Lab.png"}


def test_every_preset_can_be_shown() -> None:
    presets = {name for name, part in vars(devices).items() if isinstance(part, devices.Device)}
    assert {*(name.lower() for name in presets), "pcm", "pulsed"} <= set(show.all_devices())
    assert {"dynap_se1", "brainscales2", "lif", "integrator"} <= set(show.all_circuits())


def test_what_is_shown_of_a_circuit_is_fabricated_neurons_beside_a_nominal_one() -> None:
    found = show.benched("if", IF(), sigma=0.2, seed=3)
    chip = fabricate(ChipDesign(circuit=IF(), effects=(Mismatch(sigma=0.2),)), 3)
    np.testing.assert_array_equal(found["threshold"], chip.neurons["v_threshold"][: show.NEURONS])
    assert float(found["current"][-1]) == pytest.approx(0.6e-9 * IF().v_threshold / 0.6)
    np.testing.assert_allclose(
        found["nominal"], bench(IF(), current=found["current"], duration=0.1, step=1e-4).rate[:, 0]
    )
    assert found.attrs["title"] == "IF: 60 neurons as fabricated, mismatch of 20 %"
    assert show.benched("dynap_se2", DYNAP_SE2, sigma=0.1, seed=0).attrs["title"].startswith("DYNAP_SE2 (DynapSE): 60")


def test_data_list_says_how_to_get_what_is_missing(
    chipsim: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIPSIM_DATA", str(tmp_path / "nothing"))
    code, out, _ = chipsim("data", "list")
    assert code == 0
    assert out.splitlines()[0].startswith("digits")
    with monkeypatch.context() as nowhere:
        nowhere.setattr("teachers.datasets.locate", lambda name: None)
        assert "not found; get it with: chipsim data get mnist" in chipsim("data", "list")[1]
    code, out, _ = chipsim("data", "get", "digits")
    assert (code, Path(out.strip()).is_dir()) == (0, True)


def test_doctor_names_versions_data_and_folders(chipsim: Run) -> None:
    code, out, _ = chipsim("doctor")
    assert code == 0
    for words in (
        "xarray",
        importlib.metadata.version("xarray"),
        "C compiler",
        "torch device",
        "fashion-mnist",
        "cache",
    ):
        assert words in out
    assert "everything required is installed" in out


def test_doctor_fails_when_something_required_is_missing(chipsim: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda name: ["no-such-thing>=2", "xarray>=9999", "nor-this; extra == 'plots'", "skipped; extra == 'dev'"],
    )
    code, out, _ = chipsim("doctor")
    assert code == 1
    assert "pip install 'no-such-thing>=2' 'xarray>=9999'" in out
    assert "(needs >=9999)" in out
    assert "nor-this       missing; optional: pip install 'chipsim[plots]'" in out
    assert "skipped" not in out


def test_demo_prints_a_table_and_leaves_a_result_a_figure_and_the_command_to_go_on(
    chipsim: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def smaller(study: Study, *, out: Path, **options: Any) -> xr.Dataset:
        asked.update(options)
        return run(study, out=out, **{**options, **study.smallest}, progress=False)

    monkeypatch.setattr("chipsim.study.run", smaller)
    code, out, err = chipsim("demo", "--out", str(tmp_path / "d.h5"), "--jobs", "2")
    assert code == 0, err
    assert (asked["dataset"], asked["chips"], asked["jobs"]) == ("digits", 5, 2)
    assert "before mean" in out
    assert "chipsim study run accuracy-vs-mismatch --dataset fashion-mnist" in out
    assert (tmp_path / "d.h5").exists()
    assert (tmp_path / "d.png").exists()


def test_netlists_are_written(chipsim: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = chipsim("export", "spice", "dpi", "--current", "2e-11", "--duration", "0.05")
    assert (code, out) == (0, "dpi.cir: run it with: ngspice -b -r out.raw dpi.cir\n")
    assert "bin 0 m i=2e-11/" in (tmp_path / "dpi.cir").read_text()
    assert chipsim("export", "spice", "synapse", "--out", "six.cir")[0] == 0
    assert (tmp_path / "six.cir").read_text().count("\nx") == 6

    network = cs.Network.random((64, 6, 10), seed=0)
    asked: list[float] = []
    teacher = SimpleNamespace(network=lambda percentile: [asked.append(percentile), network][1])
    monkeypatch.setattr("studies.netlist.train", lambda *args, **options: teacher)
    design = cs.ChipDesign(rows=40, columns=16, effects=(cs.StuckCells(rate=0.2),))
    cs.fabricate(design, seed=1).save(tmp_path / "chip.h5")
    snn = cs.deploy(network, cs.Chip.load(tmp_path / "chip.h5"))
    g = snn.arrays[0].seen(snn.cells[0], 0.0)[1, 40:]  # tile 1: the lower part of the first layer, minus cells
    command = ["export", "spice", "tile", "--chip", "chip.h5", "--tile", "1", "--side", "minus", "--row", "2.5"]
    assert chipsim(*command)[0] == 0
    text = (tmp_path / "tile.cir").read_text()
    assert text.startswith(f"* {len(g)} x 6 array")
    assert "\nvs3 s3 0 0.2\n" in text
    assert "\nrw3_1 w3_0 w3_1 2.5\n" in text
    cells = {line.split()[0]: float(line.split()[3]) for line in text.splitlines() if line.startswith("rc")}
    assert cells == {f"rc{i}_{j}": 1 / g[i, j] for i, j in zip(*g.nonzero(), strict=True)}
    assert asked == [99.0], "the demo's network"

    wires = cs.WireResistance(row=7.0, column=3.0)
    cs.fabricate(dataclasses.replace(design, effects=(wires,)), seed=1).save(tmp_path / "wired.h5")
    assert chipsim("export", "spice", "tile", "--chip", "wired.h5", "--tile", "1", "--out", "both.cir")[0] == 0
    text = (tmp_path / "both.cir").read_text()
    assert text.startswith(f"* {len(g)} x 12 array"), "plus and minus lines side by side"
    assert "\nrw3_1 w3_0 w3_1 7.0\n" in text
    assert "\nrb2_1 b0_2 b1_2 3.0\n" in text

    code, _, err = chipsim(*command[:-4], "--tile", "9")
    assert (code, err) == (1, "Error: there is no tile 9: this network takes tiles 0 to 2 of the chip\n")


def test_a_figure_is_not_written_over_its_result(chipsim: Run, finished: Path) -> None:
    content = finished.read_bytes()
    picture = finished.with_name("a.png")
    picture.write_bytes(content)
    for arguments in ([str(picture)], [str(finished), "--figure", str(finished)]):
        code, _, err = chipsim("study", "show", *arguments)
        assert (code, "would be written over" in err) == (2, True)
    assert finished.read_bytes() == picture.read_bytes() == content


def test_no_colour_when_told(finished: Path) -> None:
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": ""}
    command = [sys.executable, "-m", "studies.cli", "study", "show", str(finished)]
    shown = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"\x1b[" not in shown.stdout + shown.stderr


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "studies.cli", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 2, "0.3 s on an idle machine"


def test_doctor_is_a_module_of_plain_text() -> None:
    lines: list[str] = []
    assert doctor.examine(lines.append)
    assert all(isinstance(line, str) for line in lines)
