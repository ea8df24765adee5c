"""The README is true: its code blocks run, its commands exist, and its tables say what the stored datasets hold."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chipsim import results
from chipsim.results import interval
from studies.cli import made_by

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.S)


def test_python_blocks_run_in_order_and_learning_helps(capsys):
    names = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)  # noqa: S102
    assert names["after"] > names["before"] + 0.02
    assert names["after"] > 0.9
    assert f"{names['after']:.3f}" in capsys.readouterr().out


def test_shell_blocks_name_real_commands():
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(("chipsim", "make"))]
    assert commands
    makefile = (README.parent / "Makefile").read_text()
    for command in commands:
        words = command.split("#")[0].split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.M), command
        else:
            verbs = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)]
            subprocess.run([sys.executable, "-m", "studies.cli", *verbs, "--help"], check=True, capture_output=True)


def test_a_command_beside_a_stored_result_is_the_one_that_makes_it():
    folder = README.parent / "studies" / "results"
    made = {made_by(results.open(path), path) for path in folder.glob("*.h5")}
    assert "" not in made
    said = re.findall(r"(?<!`)`(chipsim study run[^`]*)`", " ".join(README.read_text().split()))
    assert len(said) > 5
    assert {re.sub(r" --jobs \d+", "", command) for command in said} <= made


def test_paths_named_in_the_readme_exist():
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text()):
        assert (README.parent / path).exists(), path


def result(name):
    """A stored dataset."""
    return results.open(README.parent / "studies" / "results" / f"{name}.h5")


def accuracy(name):
    """Accuracies of a stored dataset [%]."""
    return 100 * result(name).accuracy


def ends(values):
    """The ends of the 95 % confidence interval of the mean over chips."""
    return [float(end) for end in interval(values).values()]


def agrees(words, text, stored):
    """Assert that a text matches words, with what is stored in place of each #, to half of the last digit said."""
    said = re.search(words.replace("#", r"(-?\d[\d,]*(?:\.\d+)?)"), " ".join(text.split()))
    assert said, "the paragraph was reworded"
    for number, value in zip((group.replace(",", "") for group in said.groups()), stored, strict=True):
        unit = 10.0 ** -len(number.partition(".")[2])
        assert float(number) == pytest.approx(float(value), abs=0.501 * unit), said[0]


def section(start):
    """What stands between a heading, or a text, and the next heading."""
    return README.read_text().split(start)[1].split("\n#")[0]


def row(start, after="# Measured\n"):
    """The cells of the first table row after a text that begins so."""
    lines = README.read_text().split(after)[1].splitlines()
    line = next(line for line in lines if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_mismatch_before_and_after_learning_is_what_is_stored():
    means = accuracy("accuracy_vs_mismatch").mean("chip")
    said = re.findall(
        r"([\d.]+): ([\d.]+) → ([\d.]+) %", row("Fashion-MNIST, 8 chips, before → after learning on the chip")[0]
    )
    assert len(said) == means.sizes["sigma"]
    for sigma, *ends in said:
        found = means.sel(sigma=float(sigma)).sel(stage=["before", "after"]).values
        np.testing.assert_allclose(found, [float(end) for end in ends], atol=0.0051)


@pytest.mark.parametrize(
    ("name", "approach"),
    [
        ("surrogate gradients", "surrogate"),
        ("spike-count learning", "spike-count"),
        ("tandem learning", "tandem"),
        ("proxy learning", "proxy"),
        ("spike-based back-propagation", "spike-backprop"),
        ("LTL offline", "ltl-offline"),
        ("LTL online", "ltl-online"),
    ],
)
def test_losses_beside_brainscales_are_those_stored(name, approach):
    cells = row(name, "# What does a chip lose beside BrainScaleS-2?")
    for dataset, ends, loss in (("mnist", *cells[:2]), ("fashion_mnist", *cells[2:])):
        found = accuracy(f"against_brainscales2_{dataset}").sel(approach=approach)
        software, chip = found.sel(place="software"), found.sel(place="chip")
        limits = interval(software - chip)
        said = [float(number) for number in re.findall(r"-?[\d.]+", f"{ends} {loss}")]
        stored = [software.mean(), chip.mean(), (software - chip).mean(), limits["low"], limits["high"]]
        np.testing.assert_allclose([float(value) for value in stored], said, atol=0.0501)
        np.testing.assert_allclose([float(value) for value in stored[:3]], said[:3], atol=0.0051)


@pytest.mark.parametrize(
    ("start", "cases"),
    [
        ("spike-count learning, MNIST", ["spike-count-mnist"]),
        ("tandem learning, Fashion-MNIST", ["tandem-fashion"]),
        ("spike-based back-propagation, MNIST", ["spike-backprop-mnist"]),
        ("proxy learning, Fashion-MNIST", ["proxy-fashion"]),
        ("Local Tandem Learning online, Fashion-MNIST", ["ltl-fashion"]),
        ("surrogate gradients (STBP), MNIST and Fashion-MNIST", ["stbp-mnist", "stbp-fashion"]),
        ("conversion of the ANN, MNIST and Fashion-MNIST", ["conversion-mnist", "conversion-fashion"]),
    ],
)
def test_headlines_are_those_stored(start, cases):
    stored = result("headlines").sel(case=cases)
    found = stored.drop_vars("training").mean("chip")
    cells = row(start)
    assert cells[2] == f"{' and '.join(f'{100 * score:.2f}' for score in found.accuracy.values)} %"
    assert cells[4] == ", ".join(f"{100 * score:.2f}" for score in found.ann.values)
    assert cells[0] == ", ".join(str(json.loads(told)["window"]) for told in stored.training.values[0])
    assert {int(cells[1])} == set(found.epochs.values)
    assert (found.accuracy >= found.mark).where(found.mark.notnull(), True).all(), "a mark is missed"
    said = re.match(r"([\d.]+) \(", cells[3])
    assert bool(said) == np.isfinite(found.mark.values).all()
    if said:
        assert float(said[1]) == pytest.approx(100 * float(found.mark[0]), abs=0.00501)
    if limits := re.search(r"interval ([\d.]+) to ([\d.]+)", cells[3]):
        stored_limits = interval(100 * stored.accuracy.isel(case=0))
        assert [float(limit) for limit in limits.groups()] == pytest.approx(
            [*map(float, stored_limits.values())], abs=0.0501
        )


CALLED = {
    "spike-backprop-lenet": "spike-based back-propagation, LeNet",
    "proxy-fashion-full": "proxy learning, the network for Fashion-MNIST",
    "ltl-vgg11": "Local Tandem Learning online, VGG-11",
    "tandem-cifarnet": "tandem learning, CifarNet",
    "spike-backprop-vgg9": "spike-based back-propagation, VGG9",
}
"""What README calls the published networks."""


def test_what_published_networks_reach_is_what_is_stored():
    text = " ".join(section("After one epoch, for the method as for its own ANN").split())
    seen = set()
    for name in ("headlines_published", "headlines_published_mixed"):
        found = result(name)
        assert (found.epochs == 1).all()
        assert (found.samples >= 45_000).all(), "whole epochs"
        for case, called in CALLED.items():
            if case in found.case.values:
                part = text.split(called)[1].split(";")[0]
                reached, own = (f"{100 * float(found[kind].sel(case=case).mean()):.2f}" for kind in ("accuracy", "ann"))
                assert f" {reached} % (its ANN {own};" in f"{part};", case
                seen.add(case)
    assert seen == set(CALLED)


def test_learning_from_random_weights_is_what_is_stored():
    cell = row("Local Tandem Learning from random weights, ideal chip, 5 epochs, 3 seeds")[0]
    said = dict(zip(("fashion_mnist", "mnist"), re.findall(r"online ([\d.]+), offline ([\d.]+) %", cell), strict=True))
    for dataset, reached in said.items():
        found = accuracy(f"ltl_from_scratch_{dataset}").isel(epoch=-1).mean("chip").sel(form=["online", "offline"])
        np.testing.assert_allclose(found, [float(value) for value in reached], atol=0.0051)


def test_convolutions_from_random_weights_learn_what_is_stored():
    form = r"online ([\d., ]+) %[^;]*?offline ([\d., ]+) %.*teacher ([\d.]+) %"
    for start, name, digits, epochs in (
        ("The same with 32C3-64C3s2-128C3s2-256-10, one seed", "cnn", 2, [-1]),
        ("The same with a VGG-11 of quarter width, one seed", "vgg11_quarter", 1, range(5)),
    ):
        found = 100 * result(f"ltl_from_scratch_{name}").squeeze("chip")[["accuracy", "teacher"]]
        online, offline, teacher = re.search(form, row(start)[0]).groups()
        for trained, said in (("online", online), ("offline", offline)):
            own = found.sel(form=trained)
            reached = ", ".join(f"{value:.{digits}f}" for value in own.accuracy.values[epochs])
            assert (said, float(teacher)) == (reached, pytest.approx(float(own.teacher), abs=0.0501)), name


APPROACHES = {
    "LTL offline": "ltl-offline",
    "LTL with a trace": "ltl-trace",
    "LTL online": "ltl-online",
    "read-out alone": "read-out",
    "spike-count learning, no leak": "spike-count",
    "gain and offset of columns, no labels": "recalibration-column",
    "tandem learning": "tandem",
    "surrogate gradients": "surrogate",
    "spike-based back-propagation, cross-entropy": "spike-backprop-cross-entropy",
    "proxy learning": "proxy",
    "noise-aware training": "noise-aware",
    "weight perturbation": "weight-perturbation",
    "nothing": "conversion",
    "gain and offset of layers": "recalibration-layer",
    "delta rule": "delta",
    "local read-outs (DECOLLE)": "decolle",
    "spike-based back-propagation": "spike-backprop",
}


def test_the_comparison_of_all_approaches_is_what_is_stored():
    both = accuracy("learning_rules_compared").isel(pace=0)
    before, found = both.sel(stage="before"), both.sel(stage="after")
    assert sorted(APPROACHES.values()) == sorted(found.approach.values)
    for name, approach in APPROACHES.items():
        cells = row(name, "# Which way of learning wins a chip back?")
        said = [float(number) for number in re.findall(r"[\d.]+", " ".join(cells))]
        ideal = float(before.sel(approach=approach, sigma=0).mean())
        for sigma, (*numbers, yielded) in ((0.3, said[:5]), (0.5, said[5:])):
            learned = found.sel(approach=approach, sigma=sigma)
            stored = [learned.mean(), *interval(learned).values(), learned.min()]
            np.testing.assert_allclose([float(value) for value in stored], numbers, atol=0.0501)
            assert (learned >= ideal - 1 - 1e-9).sum() == yielded


def test_what_learning_wins_without_much_mismatch_is_what_is_stored():
    stages = accuracy("accuracy_vs_mismatch")
    won = stages.sel(stage="after") - stages.sel(stage="before")
    words = (
        r"costs half a point; at 0\.1 it wins # on average \(# to #\), on three of eight chips, and at 0\.3 on all of"
        r" them \(# points, # to #\)"
    )
    at = [won.sel(sigma=sigma) for sigma in (0.1, 0.3)]
    stored = [part for chips in at for part in (float(chips.mean()), *ends(chips))]
    agrees(words, section("## Measured"), stored)
    assert float(won.sel(sigma=0).mean()) == pytest.approx(-0.5, abs=0.0501)
    assert [int((chips > 0).sum()) for chips in at] == [3, 8]


def test_what_brings_a_chip_back_is_what_is_stored():
    found = result("drift_and_relearn")
    loss, written = 100 * found.loss, 100 * found.written.mean("chip")
    mean = loss.mean("chip")
    words = (
        r"A month takes # points from phase-change memory and # from .* ends # point above the first day on"
        r" phase-change memory and level with it on CMO/HfOx, and writes # and # % of the cells; after a gain a layer,"
        r" # and # above\. .* without labels, ends # and # above and writes # and # %\. .* ends within # point, .*"
        r" # point below the first day \(# to #\), # on the worst chip"
    )
    cells = ("pcm", "rram-cmo")
    stored = [mean.sel(device=cell, remedy="none") for cell in cells] + [-mean.sel(device="pcm", remedy="relearn")]
    stored += [written.sel(device=cell, remedy="relearn") for cell in cells]
    stored += [-mean.sel(device=cell, remedy="gain then relearn") for cell in cells]
    stored += [-mean.sel(device=cell, remedy="recalibrate") for cell in cells]
    stored += [written.sel(device=cell, remedy="recalibrate") for cell in cells]
    stored += [abs(mean.sel(remedy=["reprogram", "gain"])).max()]
    left = loss.sel(device="pcm", remedy="gain then recalibrate")
    stored += [left.mean(), *ends(left), left.max()]
    agrees(words, section("# What brings a chip back after a month without power?"), stored)
    assert float(mean.sel(device="rram-cmo", remedy="relearn")) == pytest.approx(0, abs=0.0501)


def test_what_is_said_of_the_comparison_is_what_is_stored():
    both = accuracy("learning_rules_compared").isel(pace=0)
    after, start = both.sel(stage="after"), both.sel(stage="before").mean("chip")

    def ahead(approach, other, sigma):
        apart = after.sel(approach=approach, sigma=sigma) - after.sel(approach=other, sigma=sigma)
        return [float(apart.mean()), *ends(apart)]

    def won(approach, sigma):
        return float((after - both.sel(stage="before")).sel(approach=approach, sigma=sigma).mean())

    text = section("# Which way of learning wins a chip back?")
    stored = [start.sel(approach="conversion", sigma=sigma) for sigma in (0, 0.3, 0.5)]
    stored += [start.sel(approach="spike-count", sigma=0)]
    agrees(r"ideal chip's # % become #, and at 50 % #; .* \(without leak #\)", text, stored)
    words = (
        r"\(# point apart, # to #, paired by chip\) and # behind at 50 % \(# to #\).* # behind the online form"
        r" \(# to #\) and, at 50 %, level with it \(# apart, # to #\); the offline form is ahead of them by # and #\."
    )
    stored = ahead("ltl-online", "read-out", 0.3) + ahead("ltl-online", "read-out", 0.5)
    stored += ahead("ltl-online", "recalibration-column", 0.3) + ahead("ltl-online", "recalibration-column", 0.5)
    stored += [ahead("ltl-offline", "recalibration-column", sigma)[0] for sigma in (0.3, 0.5)]
    agrees(words, text, stored)
    words = (
        r"the online form costs # point and the offline form #, where the read-out alone wins #, .* gradients # to #\."
        r" At 10 % the read-out alone is ahead of the online form by # \(# to #\), host methods by # to #, gains and"
        r" offsets of columns by #, and noise-aware training, which never sees the chip, by # \(# to #\); at 20 % the"
        r" read-out alone still is, by # \(# to #\)"
    )
    hosts = ("tandem", "surrogate", "proxy", "spike-backprop-cross-entropy", "spike-count")
    gains, leads = [won(name, 0) for name in hosts[:3]], [ahead(name, "ltl-online", 0.1)[0] for name in hosts]
    stored = [-won("ltl-online", 0), -won("ltl-offline", 0), won("read-out", 0), min(gains), max(gains)]
    stored += [*ahead("read-out", "ltl-online", 0.1), min(leads), max(leads)]
    stored += ahead("recalibration-column", "ltl-online", 0.1)[:1] + ahead("noise-aware", "ltl-online", 0.1)
    agrees(words, text, [*stored, *ahead("read-out", "ltl-online", 0.2)])


def test_what_the_published_models_leave_out_is_what_is_stored():
    mean = accuracy("reproduce_yang_2022").mean("chip")
    ideal = mean.sel(kind="mismatch", model="chip", level=0, stage="before")

    def lost(kind, level, *stages):
        chosen = [(model, stage) for stage in stages for model in ("published", "chip")]
        return [float(ideal - mean.sel(kind=kind, level=level, model=model, stage=stage)) for model, stage in chosen]

    mild, spread, kept, relearnt = lost("mismatch", 4, "before", "after")
    gentle, dead, hurt, revived = lost("silencing", 4, "before", "after")
    assert [mild, gentle] == pytest.approx([0.5, 0.5], abs=0.05)  # "half a point each"
    assert kept < mild + 0.1
    assert hurt - gentle == pytest.approx(2, abs=0.3)  # "loses two points"
    stored = [spread, dead, spread - relearnt, dead - revived]
    stored += lost("quantisation", 3, "before", "after")
    stored += [float(ideal) - points for points in lost("quantisation", 4, "after")]
    stored += lost("thermal", 4, "before", "after")
    words = (
        r"costs # points, and dead neurons \(60 %\) #, of which learning on the chip wins back # and # .*"
        r" at 3 bits # and # points before learning and # and # after, at 2 bits nearly everything, with # and # %"
        r" right after learning, .* # and # points before, # and # after"
    )
    agrees(words, section("Under the published models of mismatch"), stored)


def test_the_small_networks_comparison_is_what_is_stored():
    found = accuracy("learning_rules_compared_cnn").isel(pace=0)
    for approach in found.approach.values:
        name = next(name for name, known in APPROACHES.items() if known == approach)
        said = [float(n) for n in re.findall(r"[\d.]+", " ".join(row(name, after="| small CNN, mismatch 30 % [%] |")))]
        own = found.sel(approach=approach)
        learned = own.sel(sigma=0.3, stage="after")
        stored = [own.sel(sigma=0.3, stage="before").mean(), learned.mean(), *interval(learned).values()]
        stored += [learned.min(), own.sel(sigma=0.0, stage="after").mean()]
        np.testing.assert_allclose([float(value) for value in stored], said, atol=0.0501)


SPEEDS = {
    "DPI neurons, speed over Brian2's cython target / C++ standalone with 2 threads": [
        "DPI update, speed over Brian2 cython",
        "DPI update, speed over Brian2 C++ standalone, 2 threads",
    ],
    "LIF scan, speed relative to copying its bytes": ["LIF scan, speed relative to copying its bytes"],
    "inference, ideal chip, speed relative to its bare matrix products": [
        "inference, ideal chip, speed relative to the bare products"
    ],
    "the same with programming, read and membrane noise and 8-bit converters": [
        "inference, noisy chip, speed relative to the bare products"
    ],
    "inference, speed over the Brian2 engine / spikingjelly 2.0.0 / snntorch 1.0.0": [
        "inference, speed over the Brian2 engine, float32",
        "inference, speed over spikingjelly",
        "inference, speed over snntorch",
    ],
    "the same over the Brian2 engine, float64 on both sides": ["inference, speed over the Brian2 engine, float64"],
    "one LTL online step with its writes, speed over a BPTT step of spikingjelly / snntorch": [
        "LTL online step, speed over the BPTT step of spikingjelly",
        "LTL online step, speed over the BPTT step of snntorch",
    ],
    "memory of an online step, T = 16 over T = 256": ["LTL online memory, T = 16 over T = 256"],
}
"""What README calls the figures of the benchmarks."""


def test_speeds_are_those_that_were_measured():
    folder = README.parent / "tests" / "benchmarks" / "results"
    for column, name in enumerate(("latest", "xeon_2026_11_25")):
        figures = {figure["name"]: figure for figure in json.loads((folder / f"{name}.json").read_text())["figures"]}
        for start, names in SPEEDS.items():
            said = row(start, "### How fast is it?")[column].split(" / ")
            for number, figure in zip(said, names, strict=True):
                digits = len(number.split(".")[1])
                assert f"{figures[figure]['value']:.{digits}f}" == number, (name, figure)
    engine = json.loads((folder / "brian_engine.json").read_text())
    speeds = engine["samples_per_second"]
    names = ["chipsim, one long run", "Brian2 Synapses, cython, one long run"]
    names += ["chipsim, one run() per sample", "Brian2 Synapses, cython, one run() per sample"]
    words = r"# times the samples per second of .* \(# against #; with one `run\(\)` per sample # against #\)"
    agrees(words, section("## Measured"), [speeds[names[0]] / speeds[names[1]], *(speeds[name] for name in names)])
