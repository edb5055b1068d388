"""The commands themselves; each imports what is heavy only when it runs."""

import dataclasses
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .session import Device, Faults, sentences, start_jax

if TYPE_CHECKING:
    from rich.console import Console

    from ..labs.base import Claim, Lab, LabResult, Preset

HELP = """Gradient-flow dynamics of neural networks, and the papers about them put to the test.

A [bold]lab[/bold] is one paper's experiments: it integrates the gradient flow of many small networks, draws the paper's figure, \
and measures each of the paper's claims.

[bold]Examples[/bold]

  jaxdyn list                            which labs there are
  jaxdyn list kernel-vs-adaptive         the settings of one
  jaxdyn run kernel-vs-adaptive --quick  a look, in under a minute
  jaxdyn run kernel-vs-adaptive          run it
  jaxdyn resume runs/kernel-vs-adaptive  resume after Ctrl-C or a crash
  jaxdyn show runs/kernel-vs-adaptive    look at the results again
  jaxdyn doctor                          does this machine compute correctly?
"""

app = typer.Typer(help=HELP, rich_markup_mode="rich", no_args_is_help=True, pretty_exceptions_enable=False)


def start() -> None:
    """The command `jaxdyn`: the app, with misuse in plain text, as the import of what draws boxes takes longer than all the rest."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = 1
    except Exception as error:
        show = getattr(error, "show", None)  # of click's UsageError, which typer does not export
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    sys.exit(code)


def _lab_names(incomplete: str) -> list[str]:
    return [name for name in _labs() if name.startswith(incomplete)]


LabName = Annotated[str, typer.Argument(metavar="LAB", help="A lab's name, see [bold]jaxdyn list[/bold].", autocompletion=_lab_names)]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The output directory of a run.")]
OnDevice = Annotated[Device | None, typer.Option("--device", help="Where to compute; an accelerator if JAX finds one, by default.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Width = Annotated[
    str | None, typer.Option("--width", metavar="INTEGER", help="Lanes that are stepped at once on a device; chosen by default.")
]


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False)


def _labs() -> "dict[str, Lab]":
    from .. import labs

    return labs.LABS


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"jaxdyn {version('jaxdyn')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)] = False,
) -> None:
    """Options before the command."""


@app.command("list")
def list_labs(
    lab: Annotated[str | None, typer.Argument(metavar="[LAB]", help="Show the settings of this lab.", autocompletion=_lab_names)] = None,
) -> None:
    """Show the labs, or the settings of one with their allowed ranges."""
    with sentences():
        from ..report import rows_table, settings_table
        from .settings import find_lab

        labs = _labs()
        if lab is None:
            _console().print(rows_table([{"lab": one.name, "what it shows": one.title, "paper": one.paper} for one in labs.values()]))
            typer.echo("Settings of one: jaxdyn list LAB. A look at one: jaxdyn run LAB --quick. Run one: jaxdyn run LAB.")
            return
        chosen = find_lab(labs, lab)
        _console().print(settings_table(chosen.settings, f"{chosen.name}: {chosen.title} ({chosen.paper})"))
        typer.echo(f"Change one: jaxdyn run {chosen.name} --set name=value (a tuple as a list with commas).")


@app.command()
def run(
    lab: LabName,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="INTEGER", help="How many random starts of each network.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where results go; [bold]runs/LAB[/bold] by default, runs/LAB-quick with --quick."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A look in under a minute: small, with runs left out.")] = False,
    tiny: Annotated[bool, typer.Option("--tiny", help="The smallest settings, meant for tests: the numbers mean nothing.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting (repeatable); tuples as 0.1,1,10.")
    ] = None,
    width: Width = None,
    device: OnDevice = None,
    quiet: Quiet = False,
    animate: Annotated[
        Path | None, typer.Option("--animate", metavar="FILE", help="Draw an animation too, a .gif or .mp4, for labs that have one.")
    ] = None,
) -> None:
    """Run a lab: its sweeps, its figure and its claims.

    Results are kept while it runs. The same command again, or [bold]jaxdyn resume DIR[/bold], does only what is missing.

    More seeds extend what is there. Other settings need another [bold]--out[/bold].

    With [bold]--quick[/bold] the claims on runs that are left out are not tested; --seeds and --set change its settings.

    A claim that does not hold is a finding, not a failure: the exit code is 0 then too. It is 2 for misuse, 130 after Ctrl-C.

    [bold]Examples[/bold]

      jaxdyn run kernel-vs-adaptive --quick
      jaxdyn run kernel-vs-adaptive --seeds 64 --out runs/many
      jaxdyn run LAB --set rtol=1e-8     (jaxdyn list LAB has the names)
    """
    with sentences():
        from ..labs.base import check_call
        from .settings import find_lab, make_settings

        wrong = Faults()
        preset: Preset | None = "quick" if quick else "tiny" if tiny else None
        chosen, settings, slots = None, None, _integer(wrong, "--width", width)
        wrong.add(quick and tiny, "--quick and --tiny are two sizes of a run: give one of them.")
        with wrong.collect():
            chosen = find_lab(_labs(), lab)
        if chosen is not None:
            with wrong.collect():
                settings = make_settings(chosen, assignments or [], seeds, preset)
            with wrong.collect():
                check_call(chosen, animate)
        else:
            wrong.found += [f"--set takes name=value, not {one!r}: write --set {one}=VALUE." for one in assignments or [] if "=" not in one]
            _integer(wrong, "--seeds", seeds)
        wrong.add(out is not None and out.exists() and not out.is_dir(), f"{out} is a file: name another directory with --out.")
        wrong.refuse()
        assert chosen is not None
        folder = Path("runs") / (chosen.name if preset is None else f"{chosen.name}-{preset}") if out is None else out
    _run(chosen, settings, folder, slots, device, quiet, preset, animate)


@app.command()
def resume(directory: Directory, device: OnDevice = None, quiet: Quiet = False) -> None:
    """Resume an interrupted run with its original settings; only what is missing is done."""
    with sentences():
        from .settings import find_lab, restore_settings

        found = _read(directory)
        chosen = find_lab(_labs(), found["lab"])
        settings = restore_settings(chosen, found["settings"])
    _run(chosen, settings, directory, None, device, quiet, found["preset"])


def _integer(wrong: Faults, name: str, text: str | None) -> int | None:
    """What was typed as an integer of at least 1."""
    good = text is None or (text.strip().isdecimal() and int(text) >= 1)
    wrong.add(not good, f"{name} takes an integer of at least 1, not {text!r}.")
    return int(text) if good and text is not None else None


@app.command()
def show(directory: Directory) -> None:
    """Show the table, the claims and the files of a run; computes nothing."""
    with sentences():
        from ..labs.base import read_claims

        found = _read(directory)
        if not found["finished"]:
            typer.echo(f"This run of {found['lab']} has not finished: jaxdyn resume {shlex.quote(str(directory))} does what is missing.")
            return
        files = {path.name: path for path in sorted(directory.iterdir()) if not path.name.startswith(".") and path.suffix != ".partial"}
        _print(found["lab"], found["table"], read_claims(directory), files)


@app.command()
def claims(
    labs: Annotated[list[str] | None, typer.Argument(metavar="[LAB]...", help="Which labs; all by default.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Keep each run in DIR/LAB, to be resumed; not kept by default."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the claims to a file, as a list.")] = None,
    device: OnDevice = None,
    quiet: Quiet = False,
) -> None:
    """Test the claims of all labs, or of some, with their default settings, and print one table.

    A claim that does not hold is a finding, not a failure: the exit code is 0 then too.
    """
    advice = "Nothing was kept: --out DIR keeps the runs."
    if out is not None:
        advice = f"The same command with --out {shlex.quote(str(out))} does what is missing."
    with sentences(advice), tempfile.TemporaryDirectory(prefix="jaxdyn-") as temporary:
        from ..labs.base import write_json
        from ..report import claims_table
        from .settings import find_lab

        available, chosen, wrong = _labs(), [], Faults()
        for name in dict.fromkeys(labs or available):
            with wrong.collect():
                chosen.append(find_lab(available, name))
        if json_file is not None:
            folder = json_file.parent
            wrong.add(not folder.is_dir(), f"{folder} is no directory: make it first, or name another --json file.")
            wrong.add(json_file.is_dir(), f"{json_file} is a directory: name a file with --json.")
        wrong.add(out is not None and out.exists() and not out.is_dir(), f"{out} is a file: name another directory with --out.")
        wrong.refuse()
        start_jax(device)
        found: list[Claim] = []
        for lab in chosen:
            found += _result(lab, lab.settings(), (out or Path(temporary)) / lab.name, None, quiet).claims
        _console().print(claims_table(found))
        if json_file is not None:
            write_json(json_file, [dataclasses.asdict(claim) for claim in found])
            typer.echo(f"Written: {json_file}")


@app.command()
def doctor(device: OnDevice = None) -> None:
    """Check that JAX computes correct results on this machine: versions, devices, the compiler, and two lanes against scipy.

    The exit code is 1 if it does not, with what to install.
    """
    with sentences():
        start_jax(device)
        from ..report import rows_table
        from ..report.doctor import about, diagnose

        console = _console()
        console.print(rows_table([{"what": name, "found": found} for name, found in about().items()]))
        checks = diagnose()
        for check in checks:
            typer.echo(typer.style("ok    ", fg="green") if check.passed else typer.style("FAILS ", fg="red"), nl=False)
            typer.echo(f"{check.name}: {check.detail}")
        if not all(check.passed for check in checks):
            raise typer.Exit(1)
        typer.echo("This machine is sound.")


def _read(directory: Path) -> dict[str, Any]:
    from ..labs.base import LAB_FILE, read_lab_file

    found = read_lab_file(directory)
    if found is None:
        raise ValueError(f"{directory} holds no run of a lab (there is no {LAB_FILE}): name the directory that jaxdyn run wrote.")
    return found


def _result(lab: "Lab", settings: Any, out: Path, width: int | None, quiet: bool, **more: Any) -> "LabResult":
    given = {name: value for name, value in more.items() if value is not None}
    return lab.run(settings, out=out, width=width, progress=not quiet, **given)


def _run(
    lab: "Lab",
    settings: Any,
    out: Path,
    width: int | None,
    device: Device | None,
    quiet: bool,
    preset: str | None = None,
    animate: Path | None = None,
) -> None:
    from ..labs.record import LAB_FILE

    def advice() -> str:
        begun = (out / LAB_FILE).exists()
        return f"Resume with: jaxdyn resume {shlex.quote(str(out))}" if begun else "Nothing was written: call the same command again."

    with sentences(advice):
        start_jax(device)
        result = _result(lab, settings, out, width, quiet, preset=preset, animate=animate)
        _print(result.lab, result.table, result.claims, result.paths)


def _print(lab: str, table: list[dict[str, Any]], found: "list[Claim]", paths: dict[str, Any]) -> None:
    from ..report import claims_table, paths_table, rows_table

    console = _console()
    if table:
        console.print(rows_table(table, lab, console.width))
    console.print(claims_table(found))
    if paths:
        console.print(paths_table(paths))
