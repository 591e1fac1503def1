"""The command `diffrl-lab`. Each sub-command imports what it needs when it is called, so that `--help` answers at once."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="diffrl-lab",
    help="See, run, break and measure how diffusion models act in reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
lessons = typer.Typer(help="Build the lessons from their source, and check them.", no_args_is_help=True)
app.add_typer(lessons, name="lessons")


# ---------------------------------------------------------------------------------------------------------------- data
# record


# ------------------------------------------------------------------------------------------------------------- planner
# train, evaluate


# ------------------------------------------------------------------------------------------------------------- lessons
# start, run, lessons build, lessons check


# --------------------------------------------------------------------------------------------------------- installation
@app.command()
def doctor() -> None:
    """Say what is wrong with this installation, and what to do about it."""
    from diffrl_lab.course.doctor import report

    raise typer.Exit(report())


@app.command()
def version() -> None:
    """Print the version."""
    from diffrl_lab import __version__

    typer.echo(__version__)


if __name__ == "__main__":
    app()
