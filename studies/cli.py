"""The `chipsim` command: studies, data sets, netlists, and what is installed.

Everything heavy is imported by the command that needs it, so that `chipsim --help` answers at once. Exit codes: 0 done,
1 an error that one sentence on stderr explains, 2 wrong usage, 130 Ctrl-C.
"""

import ast
import importlib
import importlib.metadata
import json
import pkgutil
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

import studies
from chipsim.errors import ChipsimError, ParameterError

if TYPE_CHECKING:
    import xarray as xr

    from chipsim.results import Manifest
    from chipsim.study import Study

T = TypeVar("T")
SETTINGS: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(help="Will a spiking network still work on a fabricated chip, and what does on-chip learning win "
                  "back?", pretty_exceptions_enable=False, add_completion=False, **SETTINGS)  # fmt: skip
study_app = typer.Typer(help="Run and show studies: one question each, over many chips.", **SETTINGS)
data_app = typer.Typer(help="Find and download data sets.", **SETTINGS)
app.add_typer(study_app, name="study")
show_app = typer.Typer(help="Draw what a device or a circuit does.", **SETTINGS)
app.add_typer(data_app, name="data")
export_app = typer.Typer(help="Write what other simulators read.", **SETTINGS)
app.add_typer(export_app, name="export")
app.add_typer(show_app, name="show")


class UsageError(ChipsimError):
    """Something asked for on the command line that does not exist or is out of range: exit code 2."""


def main() -> NoReturn:
    """Run the command line; every expected error is one sentence on stderr."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, prog_name="chipsim")
    except ChipsimError as error:
        _fail(f"Error: {error}", 2 if isinstance(error, UsageError) else 1, debug)
    except KeyboardInterrupt:
        _fail("Interrupted.", 130, debug)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        _fail(f"Error: unexpected {type(error).__name__}: {error} (run again with --debug for where)", 1, debug)
    sys.exit(0)


def _fail(sentence: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    Console(stderr=True, soft_wrap=True, highlight=False).print(sentence, markup=False)
    sys.exit(code)


def _say(words: str) -> None:
    Console(soft_wrap=True, highlight=False).print(words, markup=False)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"chipsim {importlib.metadata.version('chipsim')}")
        raise typer.Exit


@app.callback()
def _chipsim(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    pass


# -------------------------------------------------------------------------------------------------- names


def shown(name: str) -> str:
    """A Python name as the command line shows it: with hyphens."""
    return name.replace("_", "-")


def _among(kind: str, asked: str, known: Iterable[str]) -> str:
    """The known name that was asked for, with hyphens or underscores; raises UsageError when there is none."""
    from chipsim.factor import suggest

    names = {shown(name): name for name in known}
    if shown(asked) not in names:
        raise UsageError(f"unknown {kind} {asked!r}; {suggest(shown(asked), list(names))}")
    return names[shown(asked)]


def study_names() -> list[str]:
    """The modules of `studies` that define STUDY, found by reading them, not by importing."""
    return sorted(module.name for module in pkgutil.iter_modules(studies.__path__) if _defines_study(module.name))


def _defines_study(name: str) -> bool:
    source = next(
        (Path(folder) / f"{name}.py" for folder in studies.__path__ if (Path(folder) / f"{name}.py").is_file()), None
    )
    if source is None:
        return False
    targets = []
    for statement in ast.parse(source.read_bytes()).body:
        targets += statement.targets if isinstance(statement, ast.Assign) else []
        targets += [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "STUDY" for target in targets)


def load_study(asked: str) -> "Study":
    """Import the study called `asked`."""
    name = _among("study", asked, study_names())
    study: Study = importlib.import_module(f"studies.{name}").STUDY
    return study


def _settings(study: "Study", texts: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Sort the words of --set into factor values and option values."""
    factors: dict[str, list[str]] = {}
    options: dict[str, str] = {}
    known_factors = [factor.name for factor in study.factors]
    known_options = [option.name for option in study.options]
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(f"--set {text} does not say what to set; write --set FACTOR=V1,V2")
        name = _among("factor or option", name, [*known_factors, *known_options])
        if name in factors or name in options:
            raise UsageError(f"--set {shown(name)} is given twice; give all its values at once: FACTOR=V1,V2")
        if name in known_factors:
            factors[name] = [value.strip() for value in values.split(",")]
        else:
            options[name] = values.strip()
    return factors, options


# ------------------------------------------------------------------------------------------------- studies


@study_app.command("list")
def study_list() -> None:
    """List the studies, with their factors and default values."""
    for name in study_names():
        study = load_study(name)
        _say(f"{shown(name)}\n    {study.question}\n    --dataset {' | '.join(study.datasets)}")
        for factor in (*study.factors, *study.options):
            setting = f"--set {shown(factor.name)}={','.join(map(_plain, factor.values))}"
            unit = "" if factor.unit == "1" else f" [{factor.unit}]"
            _say(f"    {setting:35} {factor.long_name}{unit}")
            if more := [
                *(choice for choice in factor.choices if choice not in factor.values),
                *([f"FILE{factor.files}"] if factor.files else []),
            ]:
                _say(f"        also: {', '.join(more)}")
        _say("")


@study_app.command("run")
def study_run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which study; `chipsim study list` shows them.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="The data set, of those that `chipsim study list` shows. [default: the study's first]"),
    ] = None,
    chips: Annotated[
        int | None,
        typer.Option(
            help="How many chips are fabricated; of a study with `--set dies`, how many times as many. [default: 5]"
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="How many trials run at once.")] = 1,
    threads: Annotated[
        int, typer.Option(help="How many threads each trial has; for one large network, as many as there are cores.")
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="The seed of everything that is drawn. [default: 0]")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FACTOR=V1,V2", help="The values of a factor, or of an option; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The result. [default: NAME-DATASET.h5]")] = None,
) -> None:
    """Run a study, or continue it: trials that FILE holds already are not run again.

    More chips or factor values extend FILE; what is not given stays as FILE holds it.
    """
    study = load_study(name)
    factors, options = _settings(study, settings or [])
    dataset = _among("data set", dataset, study.datasets) if dataset is not None else None
    out = out if out is not None else Path(f"{shown(study.name)}-{dataset or study.datasets[0]}.h5")
    given = {"dataset": dataset, "chips": chips, "seed": seed, "factors": factors, "options": options}
    _run(study, out, jobs, threads, **given)
    _say(f"\nTable and figure again: {shlex.join(['chipsim', 'study', 'show', str(out)])}")


def _run(study: "Study", out: Path, jobs: int, threads: int, **asked: Any) -> "xr.Dataset":
    """Run a study and print its tables."""
    from chipsim.study import Interrupted, planned, run

    manifest = _check_usage(lambda: planned(study, out, **asked))
    for name, count in (("jobs", jobs), ("threads", threads)):
        if count < 1:
            raise UsageError(f"--{name} must be at least 1, not {count}")
    try:
        dataset = run(study, out=out, jobs=jobs, threads=threads, **asked)
    except Interrupted as interrupted:
        command = f"{_command(study, manifest)} --jobs {jobs}{f' --threads {threads}' * (threads > 1)}"
        _fail(
            f"Interrupted: {interrupted.done} of {interrupted.total} trials are stored and will not run again. "
            f"Continue with:\n  {command} --out {shlex.quote(str(out))}", 130, False,
        )  # fmt: skip
    _print_tables(dataset)
    return dataset


def _check_usage(call: Callable[[], T]) -> T:
    try:
        return call()
    except ParameterError as error:
        raise UsageError(str(error)) from error


def _command(study: "Study", manifest: "Manifest") -> str:
    """The shortest command that makes what `manifest` holds."""
    from chipsim.study import CHIPS

    words = ["chipsim", "study", "run", shown(study.name)]
    chips = len(manifest.grid["chip"])
    words += ["--dataset", manifest.dataset] * (manifest.dataset != study.datasets[0])
    words += ["--chips", str(chips)] * (chips != CHIPS) + ["--seed", str(manifest.seed)] * (manifest.seed != 0)
    held = {**manifest.grid, **{name: (value,) for name, value in manifest.options.items()}}
    for known in (*study.factors, *study.options):
        if (values := held.get(known.name, known.values)) != known.order(set(known.values)):
            words += ["--set", f"{shown(known.name)}={','.join(map(_plain, values))}"]
    return shlex.join(words)


@study_app.command("show")
def study_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A result of `chipsim study run`.")],
    figure: Annotated[
        Path | None, typer.Option(help="Where the figure goes (png, pdf, svg). [default: FILE as .png]")
    ] = None,
) -> None:
    """Print the table of a result and write its figure."""
    from chipsim import plots, results

    dataset = results.open(file)
    figure = figure if figure is not None else file.with_suffix(".png")
    _check_apart(file, figure)
    plots.check(figure)
    _print_tables(dataset)
    if command := made_by(dataset, file):
        _say(f"\nMade by: {command}")
    _draw(dataset, figure)


def made_by(dataset: "xr.Dataset", file: Path) -> str:
    """The command that makes a result; nothing where its study is not here, or lacks its options, or has other factors.
    An option that came since had its default.
    """
    from chipsim.results import Manifest

    manifest = Manifest.from_attributes(dataset.attrs, file)
    if manifest.study not in study_names():
        return ""
    study = load_study(manifest.study)
    factors, options = ({known.name for known in parts} for parts in (study.factors, study.options))
    if {"chip", *factors} != {*manifest.grid} or not {*manifest.options} <= options:
        return ""
    return _command(study, manifest)


def _check_apart(result: Path, figure: Path) -> None:
    """Refuse to write a figure over the result that it shows."""
    if result.resolve() == figure.resolve():
        raise UsageError(f"the figure would be written over the result {result}; give one of them another name")


def _draw(dataset: "xr.Dataset", path: Path) -> None:
    from chipsim import plots

    plots.save(dataset.attrs["figure"], dataset, path)
    _say(f"\nFigure: {path}")


def _print_tables(dataset: "xr.Dataset") -> None:
    """Print mean, standard deviation and extremes over chips, a row per point, a group of columns per stage, and what
    the study's figure has to say.
    """
    from chipsim import plots

    console = Console()
    attributes = dataset.attrs
    _say(f"{attributes['question']}\nstudy {shown(attributes['study'])}, data set {attributes['dataset']}, "
         f"seed {attributes['seed']}\n")  # fmt: skip
    for name in json.loads(attributes["table"]):
        console.print(_table(dataset[name]))
    if words := plots.words(attributes["figure"], dataset):
        _say(f"\n{words}")


def _table(array: "xr.DataArray") -> Table:
    from chipsim.results import REPEATS, spread

    statistics = spread(array)
    accuracy = "accuracy" in str(array.name)
    share = accuracy or any(word in array.attrs["long_name"] for word in ("score", "accuracy"))
    repeats = " x ".join(f"{array.sizes[name]} {name}s" for name in REPEATS if name in array.dims)
    unit = "%" if share else array.attrs["units"]
    title = f"{array.attrs['long_name']}{f' [{unit}]' if unit != '1' else ''}, over {repeats}"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    rows = [str(name) for name in statistics.dims if name != "stage"]
    stages = [str(stage) for stage in array["stage"].values] if "stage" in array.dims else [""]
    columns = {"mean": "mean", "std": "sd", "lowest": "worst"} if accuracy else {
        "mean": "mean", "std": "sd", "lowest": "lowest", "highest": "highest"}  # fmt: skip
    for name in rows:
        table.add_column(name, no_wrap=True)
    for stage in stages:
        for words in columns.values():
            heading = f"{stage} {words}".strip() if words == "mean" else words
            table.add_column(heading, justify="right", no_wrap=True)
    stacked = statistics.stack(point=rows) if rows else statistics.expand_dims("point")
    for index in range(stacked.sizes["point"]):
        point = stacked.isel(point=index)
        cells = [point.sel(stage=stage) if stage else point for stage in stages]
        numbers = [float(cell[column]) for cell in cells for column in columns]
        labels = [_plain(point[name].item()) for name in rows]
        table.add_row(*labels, *(f"{100 * number:.2f}" if share else f"{number:.4g}" for number in numbers))
    return table


def _plain(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


# ------------------------------------------------------------------------------------------------ pictures

FIGURE = typer.Option(metavar="FILE", help="Where the figure goes (png, pdf, svg). [default: NAME.png]")


@show_app.command("device")
def show_device(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A preset or kind, as pcm-hermes or pcm, or a CSV file of measurements of your own; without it, all.",
        ),
    ] = None,
    figure: Annotated[Path | None, FIGURE] = None,
) -> None:
    """Draw a population of memory cells: programming, and what they have of drift, read noise and pulses; or list all
    devices. Of measurements (`help(chipsim.devices.fit)` says in which columns), say what was fitted and how well.
    """
    from studies import show
    from studies.cells import MEASURED

    known = show.all_devices()
    if name is None:
        return _say("\n".join(map(shown, sorted(known))))
    if name.lower().endswith(MEASURED):
        from chipsim.devices import fit

        fitted = fit(name)
        _say(str(fitted))
        return _save("device", fitted.device, figure, Path(name).stem)
    name = _among("device", name.lower(), known)
    return _save("device", known[name], figure, name)


@show_app.command("circuit")
def show_circuit(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A preset or kind, as dynap-se2 or lif; without it, all.")
    ] = None,
    figure: Annotated[Path | None, FIGURE] = None,
    sigma: Annotated[float, typer.Option(help="The mismatch of the neurons.", min=0)] = 0.2,
    seed: Annotated[int, typer.Option(help="The seed of the chip.", min=0)] = 0,
) -> None:
    """Draw what fabricated neurons do over time, and their f-I curves beside the nominal one; or list all circuits."""
    from studies import show

    known = show.all_circuits()
    if name is None:
        return _say("\n".join(map(shown, sorted(known))))
    name = _among("circuit", name.lower(), known)
    return _save("circuit", show.benched(name, known[name], sigma=sigma, seed=seed), figure, name)


def _save(kind: str, subject: Any, figure: Path | None, name: str) -> None:
    from chipsim import plots

    path = figure if figure is not None else Path(f"{shown(name)}.png")
    plots.save(kind, subject, path)
    _say(f"Figure: {path}")


# ---------------------------------------------------------------------------------------- data and machine


@data_app.command("list")
def data_list() -> None:
    """List the data sets, and where each was found."""
    from teachers import datasets

    for name in datasets.NAMES:
        found = datasets.locate(name)
        _say(f"{name:15} {found if found is not None else f'not found; get it with: chipsim data get {name}'}")


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which data set; `chipsim data list` shows them.")],
) -> None:
    """Download a data set, unless it is there already."""
    from teachers import datasets

    _say(str(datasets.fetch(_among("data set", name, datasets.NAMES))))


@export_app.command("spice")
def export_spice(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="tile, lif, dpi, synapse (transistors) or synapse-behavioural.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The netlist. [default: KIND.cir]")] = None,
    chip: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tile: a saved chip. [default: one without effects]")
    ] = None,
    tile: Annotated[int, typer.Option(help="Tile: its number.")] = 0,
    side: Annotated[
        str, typer.Option(help="Tile: both bit lines of each column, as on a die, or plus or minus alone.")
    ] = "both",
    dataset: Annotated[str, typer.Option(help="Tile: the data set of the teacher on the chip.")] = "digits",
    row: Annotated[
        float | None,
        typer.Option(help="Tile: resistance of a segment of a word line [ohm]. [default: the chip's wires, or 1]"),
    ] = None,
    column: Annotated[
        float | None, typer.Option(help="Tile: resistance of a segment of a bit line [ohm]. [default: as --row]")
    ] = None,
    current: Annotated[float, typer.Option(help="Circuits: input current, or weight of the synapse [A].")] = 100e-12,
    duration: Annotated[float, typer.Option(help="Circuits: how long they run [s].")] = 0.1,
) -> None:
    """Write the netlist of a programmed tile with its wires, of a neuron, or of a synapse, for ngspice.

    Run it with: ngspice -b -r out.raw FILE
    """
    from chipsim.files import replace_file
    from chipsim.wires import Wires
    from studies import netlist
    from teachers.datasets import NAMES

    kind = _among("kind of netlist", kind, netlist.KINDS)
    if kind == "tile":
        row, column = (row if row is not None else column), (column if column is not None else row)
        wires = None
        if row is not None and column is not None:
            wires = Wires(row=row, column=column, source=row, terminal=column)
        side, dataset = _among("side", side, (*netlist.SIDES, netlist.ALL)), _among("data set", dataset, NAMES)
        text = netlist.tile(chip, tile, side, wires, dataset)
    else:
        text = netlist.circuit(kind, current, duration)
    path = out if out is not None else Path(f"{kind}.cir")
    replace_file(path, text.encode())
    _say(f"{path}: run it with: {shlex.join(['ngspice', '-b', '-r', 'out.raw', str(path)])}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The result.")] = Path("demo.h5"),
    jobs: Annotated[int, typer.Option(help="How many trials run at once.")] = 2,
) -> None:
    """Run the main job on the embedded digits: mismatch spoils a network, learning on the chip wins it back."""
    study, figure = load_study("accuracy_vs_mismatch"), out.with_suffix(".png")
    _check_apart(out, figure)
    dataset = _run(study, out, jobs, 1, dataset="digits", chips=5, seed=0, factors={}, options={})
    _draw(dataset, figure)
    _say(f"Result: {out} (open it with xarray.open_dataset)\n\nGo on with a larger network and more chips:")
    _say("  chipsim study run accuracy-vs-mismatch --dataset fashion-mnist --chips 8 --jobs 2 --out fashion.h5")


@app.command()
def doctor() -> None:
    """Say what is installed, what will be used, and what is missing and how to get it."""
    from studies.doctor import examine

    if not examine(_say):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
