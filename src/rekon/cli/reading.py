"""Commands of the reader study: write the arms' images, make the kit, analyse the filled sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rekon.cli.app import LOOK, Gpus, Output, Threads, app, compute_of

study = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Blind reader study: pairs and a score sheet for readers, then the analysis.\n\n"
    "`arm` writes the images of a run. `make` writes the kit, a folder that each reader gets, and the key, which no "
    "reader may see. Each reader opens read.html of the kit in a browser, scores, and hands back a sheet. `analyse` "
    "reads the key and the sheets.",
)
app.add_typer(study, name="reader-study", rich_help_panel=LOOK)


@study.command()
def arm(
    recipe: Path,
    manifest: Annotated[Path, typer.Option(help="Manifest of the test split.")],
    output: Output,
    weights: Annotated[Path | None, typer.Option(help="Weights of the run; none for classical methods.")] = None,
    parent: Annotated[
        list[str], typer.Option(help="ROLE=WEIGHTS of a run that this one builds on.", metavar="ROLE=WEIGHTS")
    ] = [],  # noqa: B006 -- never changed
    tuned: Annotated[Path | None, typer.Option(help="What tune-zeta found for the run.")] = None,
    fully_sampled: Annotated[
        bool, typer.Option("--fully-sampled", help="Write the reference of the run's slices instead.")
    ] = False,
    threads: Threads = 1,
    gpus: Gpus = 0,
) -> None:
    """Write an arm's images: the middle slice of every test volume, with the first of the run's masks.

    The fully sampled images of the same slices, with --fully-sampled, can stand for the standard of care.
    """
    from rekon.cli.runs import files_of
    from rekon.recipe import read_recipe
    from rekon.studies.kinds import Trained
    from rekon.studies.readers import write_arm

    used = None if fully_sampled else Trained(weights, files_of(parent, "parent"), tuned)
    write_arm(read_recipe(recipe), used, manifest=manifest, output=output, compute=compute_of(threads, gpus))


@study.command()
def make(
    arm: Annotated[
        list[Path], typer.Option(help="HDF5 file of an arm's images; repeat for every arm, all with the same cases.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the kit; must not exist. Complete or absent, never partial.")],
    key: Annotated[Path, typer.Option(help="File of the key, outside the kit: which arm is behind which image.")],
    reference: Annotated[
        str | None, typer.Option(help="Arm that every other is shown against; default: that of the first file.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order and the sides. Equal inputs give equal bytes.")] = 0,
    repeats: Annotated[
        float, typer.Option(help="Share of pairs shown twice, 0 to 0.5, for the agreement of a reader with themselves.")
    ] = 0.1,
) -> None:
    """Write the kit for the readers, and the key.

    Pairs come in random order; each arm is on the left half of the time.
    Both images of a pair share one window, which so tells nothing of the arm.
    An arm's file holds <volume>/<slice>/image, see rekon.reading.images.
    """
    from rekon.reading.kit import make_kit

    made = make_kit(arm, output, key, reference=reference, seed=seed, repeats=repeats)
    again = sum(pair.repeat_of is not None for pair in made.pairs.values())
    print(f"{output}: {len(made.pairs)} pairs, {again} of them repeats; give readers this folder, and not {key}.")
    for name, ratio in made.brightness.items():
        if abs(ratio - 1) > 0.05:
            print(
                f"note: {name!r} is {100 * abs(ratio - 1):.0f} % {'brighter' if ratio > 1 else 'darker'} than "
                f"{made.reference!r}, by which readers may tell them apart; bring the arms to one scale."
            )


@study.command()
def analyse(
    key: Annotated[Path, typer.Option(help="Key of the kit.")],
    sheet: Annotated[list[Path], typer.Option(help="Filled sheet of a reader; repeat for every reader.")],
    output: Annotated[Path, typer.Option(help="Folder to write analysis.json and analysis.csv into.")],
    reference: Annotated[str | None, typer.Option(help="Arm to compare with; default: the kit's reference.")] = None,
    test: Annotated[str | None, typer.Option(help="Arm to compare; may be left out if the kit has only one.")] = None,
    margin: Annotated[
        float, typer.Option(help="Points of the scale that the test arm may be worse by; fix it before reading.")
    ] = 0.5,
    alpha: Annotated[float, typer.Option(help="Error of the one-sided decision; intervals have 1 - alpha.")] = 0.05,
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Allow empty cells; they are counted.")] = False,
) -> None:
    """Open the blinding and write the statistics.

    Per reader and criterion: the mean difference over subjects, its interval,
    Wilcoxon's p, and whether the test arm is non-inferior, that is, whether the
    one-sided lower bound lies above minus the margin.
    Then preferences, and weighted kappa: between readers, and from repeats of
    each reader with themselves.
    """
    from rekon.reading.analysis import analyse as run
    from rekon.reading.analysis import write_analysis
    from rekon.reading.key import read_key
    from rekon.reading.sheet import read_sheet
    from rekon.reading.show import show

    opened = read_key(key)
    sheets = [read_sheet(path, opened, incomplete=incomplete) for path in sheet]
    results = run(opened, sheets, reference=reference, test=test, margin=margin, alpha=alpha)
    write_analysis(output, results)
    show(results)
