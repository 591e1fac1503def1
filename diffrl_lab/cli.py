"""The command `diffrl-lab`. Each sub-command imports what it needs when it is called: `--help` answers at once.

Exit codes: 0 done; 1 done, and the answer is no (a check that fails, a cell that raises); 2 refused, with one sentence
that says what came and what was wanted; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.completion import completion_init
from typer.core import TyperGroup

from diffrl_lab.files import show_anything, writable

Refusal: Any = typer.BadParameter.__mro__[1]  # UsageError, which lies in click or, from some version on, in typer
COMPLETE = "_DIFFRL_LAB_COMPLETE"  # in this variable the script of `completion` asks


class Group(TyperGroup):
    """A group of commands in which everything that is refused is one sentence on stderr and exit 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `| head`: Typer ends quietly
            raise
        except KeyboardInterrupt as stopped:
            refusal, code = str(stopped) or "stopped", 130
        except (ValueError, OSError, ImportError) as error:
            refusal, code = str(error), 2
        typer.echo(f"{ctx.command_path} {ctx.invoked_subcommand}: {refusal}", err=True)
        raise typer.Exit(code)

    def main(self, *args: Any, **extra: Any) -> Any:
        show_anything()
        if COMPLETE in os.environ:  # a shell asks how a word may go on
            completion_init()
        try:
            code = super().main(*args, **extra | {"prog_name": "diffrl-lab", "standalone_mode": False})
        except Refusal as error:
            code, path = 2, error.ctx.command_path if error.ctx else "diffrl-lab"
            if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command
                error.show()
            else:
                typer.echo(f"{path}: {error.format_message().rstrip('.')} (help: `{path} -h`)", err=True)
        sys.exit(code)


def _version(asked: bool) -> None:
    if asked:
        from diffrl_lab import __version__

        typer.echo(__version__)
        raise typer.Exit


@contextlib.contextmanager
def _cells() -> Iterator[None]:
    """A cell that raises is told by its own traceback, which is the error's text: exit 1."""
    try:
        yield
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


app = typer.Typer(
    name="diffrl-lab",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lessons = typer.Typer(cls=Group, help="Build the lessons from their source, and check them.", no_args_is_help=True)
app.add_typer(lessons, name="lessons")
course_app = typer.Typer(cls=Group, help="For the instructor: hand out, grade and report.", no_args_is_help=True)
app.add_typer(course_app, name="course")


@app.callback()
def start_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See, run, break and measure how diffusion models act in reinforcement learning."""


# ---------------------------------------------------------------------------------------------------------------- data
@app.command()
def record(
    name: Annotated[
        str,
        typer.Argument(
            help="pointmaze-umaze, -medium, -large, -two-ways, written in full; hopper, halfcheetah or walker2d; "
            "breakout or hunt; avoid, or avoid-paid."
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="Robots: random, medium, medium-replay, medium-expert, expert.")
    ] = None,
    p: Annotated[float, typer.Option(help="two-ways only: the probability of the left corridor.")] = 0.5,
    steps: Annotated[int, typer.Option(help="Environment steps in all (not avoid).")] = 200_000,
    episodes: Annotated[int, typer.Option(help="avoid only: how many demonstrations.")] = 600,
    way: Annotated[int | None, typer.Option(help="avoid only: the one way of 0 to 23 that all take.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal recordings, bit for bit.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write below this folder instead of Minari's own.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a recording of the same name.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Robots: policies of your own from `behaviour`.")] = None,
) -> None:
    """Record a scripted player or controller, or a robot's policy, into a Minari dataset (200,000 steps: minutes)."""
    from diffrl_lab.worlds import avoid, games
    from diffrl_lab.worlds import record as mazes
    from diffrl_lab.worlds import robots as locomotion

    if way is not None and name not in ("avoid", "avoid-paid"):
        raise ValueError(f"--way is for avoid; got {name}")
    if name in locomotion.ENVIRONMENTS:
        if kind is None:
            raise ValueError(f"say what drives {name}: --kind {', '.join(locomotion.KINDS)}")
        folder = locomotion.record(name, kind, steps, seed, out, weights=weights, overwrite=overwrite)
    elif kind is not None or weights is not None:
        raise ValueError(f"--kind and --weights are for {', '.join(locomotion.ENVIRONMENTS)}; got {name}")
    elif name in ("avoid", "avoid-paid"):
        p_of, paid = None if way is None else avoid.only(way), name == "avoid-paid"
        folder = avoid.record(episodes, seed, out, p=p_of, payments=paid, overwrite=overwrite)
        typer.echo(f"{episodes} {'trials' if paid else 'demonstrations'} in {folder}")
        return
    elif name in games.GAMES:
        folder = games.record(name, steps, seed, out, overwrite=overwrite)
    else:
        folder = mazes.record(name, steps, seed, out, p=p, overwrite=overwrite)
    typer.echo(f"{steps} steps in {folder}")


@app.command()
def behaviour(
    name: Annotated[str, typer.Argument(help="hopper, halfcheetah or walker2d.")],
    steps: Annotated[
        int, typer.Option(help="Environment steps in all; the learning rate falls to 0 there.")
    ] = 3_000_000,
    seed: Annotated[int, typer.Option(help="For a new training.")] = 0,
    state: Annotated[Path, typer.Option(help="Folder of checkpoints; a stopped training goes on from them.")] = Path(
        "runs/behaviours"
    ),
    ship: Annotated[bool, typer.Option("--ship", help="Into data/weights and its manifest.")] = False,
) -> None:
    """Train the policies that drive a robot's recordings (10 minutes a million steps on a free core); measure them."""
    from diffrl_lab.worlds import behaviours

    behaviours.train(name, steps, seed, state)
    path = behaviours.assemble(name, state)
    typer.echo(behaviours.report(path))
    typer.echo(behaviours.ship(path) if ship else path)


# ------------------------------------------------------------------------------------------------------------- methods
def _methods(begun: str = "") -> list[str]:
    from diffrl_lab.methods import names

    return [name for name in names() if name.startswith(begun)]


def _pairs(words: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words before, between and behind `--set NAME VALUE`s, and the pairs. Raises ValueError for half a pair."""
    rest, pairs, words = [], [], list(words)
    while words:
        word = words.pop(0)
        if word != "--set":
            rest.append(word)
        elif len(words) < 2:
            raise ValueError(f"--set takes a name and a value, got {' '.join(words) or 'nothing'}")
        else:
            pairs.append((words.pop(0), words.pop(0)))
    return rest, pairs


# Typer has no repeatable option of two values: what it does not know is passed on and split off in `_pairs`.
@app.command(context_settings={"ignore_unknown_options": True})
def train(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="METHOD DATASET [--set NAME VALUE]... | maze-NAME",
            help="A method (the names of files in diffrl_lab/methods), a Minari dataset, and what of its Config is set "
            "(VALUE is YAML); or a planner: maze-umaze, -medium, -large, -two-ways, or a name of your own.",
            autocompletion=_methods,
        ),
    ],
    seed: Annotated[int, typer.Option(help="Equal seeds give equal weights on one machine.")] = 0,
    dataset: Annotated[str | None, typer.Option(help="Planners: a dataset; by default the maze's own.")] = None,
    env: Annotated[str | None, typer.Option(help="Planners: the Gymnasium id to be evaluated in.")] = None,
    updates: Annotated[
        int | None, typer.Option("--updates", "--steps", help="Planners: updates of the network.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/weights"),
    ladder: Annotated[bool, typer.Option("--ladder", help="Planners: untrained, 10 %, overfit too.")] = False,
    held_out: Annotated[bool, typer.Option("--held-out", help="Planners: a fifth of all pairs is left out.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint of a stopped run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace weights and checkpoint there.")] = False,
    ship: Annotated[bool, typer.Option("--ship", help="Into data/weights and its manifest.")] = False,
) -> None:
    """Train a method on a recording, or a planner on a recorded maze (two-ways: 1 to 2 minutes; large: 4 to 7)."""
    from diffrl_lab import commands
    from diffrl_lab.studies import planners

    names, pairs = _pairs(words)
    if odd := [word for word in names[1:] if word.startswith("-")] or names[2:]:
        raise ValueError(f"one method and one dataset were wanted, got {' '.join(odd)} as well")
    if names[0] in _methods():
        if len(names) < 2:
            raise ValueError(f"{names[0]} needs a dataset to be trained on, such as hopper-medium-v0")
        method, recording = names
        typer.echo(commands.train(method, recording, pairs, seed=seed, out=out, resume=resume, overwrite=overwrite))
        return
    if pairs or len(names) > 1:
        raise ValueError(
            f"{names[0]!r} is no method ({', '.join(_methods())}); only a method has settings and a dataset"
        )
    paths = planners.train(
        names[0],
        seed=seed,
        dataset=dataset,
        env=env,
        updates=updates,
        out=out,
        ladder=ladder,
        held_out=held_out,
        resume=resume,
        overwrite=overwrite,
        ship=ship,
    )
    for path in paths:
        typer.echo(path)


@app.command()
def evaluate(
    name: Annotated[
        str, typer.Argument(metavar="WEIGHTS|NAME", help="A file of weights; or a planner's name, such as maze-umaze.")
    ],
    world: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="A Gymnasium id; by default where the recording was made.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="How many, one for each seed.")] = 100,
    seed: Annotated[int, typer.Option(help="The first seed. Tune below 1000.")] = 0,
    method: Annotated[str, typer.Option(help="planner, pd, bc, retrieval, own-actions or controller.")] = "planner",
    weights: Annotated[Path | None, typer.Option(help="Weights of your own; by default those that ship.")] = None,
    rung: Annotated[str, typer.Option(help="Which of the shipped ones: untrained, 10%, good, overfit.")] = "good",
    dataset: Annotated[str | None, typer.Option(help="The recording that bc and retrieval learn from.")] = None,
    env: Annotated[str | None, typer.Option(help="A Gymnasium id; by default what the weights say.")] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only pairs that --held-out leaves out.")] = False,
    json: Annotated[str | None, typer.Option(help="Write one JSON object to this file, or - (screen).")] = None,
) -> None:
    """Drive what was trained, or what it is compared with: return, success and score with 95 % intervals."""
    from diffrl_lab import commands
    from diffrl_lab.studies import planners

    if json not in (None, "-"):
        writable(json)
    if name.endswith(".safetensors"):
        result = commands.evaluate(Path(name), world or env, episodes=episodes, seed=seed)
    else:
        result = planners.evaluate(
            name,
            episodes=episodes,
            seed=seed,
            method=method,
            weights=weights,
            rung=rung,
            dataset=dataset,
            env=world or env,
            held_out=held_out,
        )
    text = planners.report(result, json)
    if text:
        typer.echo(text)


# ------------------------------------------------------------------------------------------------------------ analysis
@app.command()
def diagnose(
    samples: Annotated[str, typer.Argument(help="npz (FILE:KEY), npy, csv, parquet, pt, or a Minari dataset.")],
    reference: Annotated[str | None, typer.Option(help="Data of the law that they should follow.")] = None,
    states: Annotated[
        str | None, typer.Option(help="each: samples are [S, n, a]; or a file with the state of each row.")
    ] = None,
    reference_states: Annotated[str | None, typer.Option(help="The state of each reference row.")] = None,
    labels: Annotated[str | None, typer.Option(help="The mode of each sample, -1 for none; found by default.")] = None,
    reference_labels: Annotated[str | None, typer.Option(help="The mode of each reference row.")] = None,
    centres: Annotated[str | None, typer.Option(help="A file with the modes' centres [K, ...].")] = None,
    walls: Annotated[
        str | None,
        typer.Option(help="Modes are ways around blocks: a maze's name, or a file with a grid of 0 and 1 (1 m cells)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for diagnosis.json, .csv, .svg, .pdf and .html.")] = None,
    seed: Annotated[int, typer.Option(help="For the relabellings.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a diagnosis that is there.")] = False,
) -> None:
    """Say whether samples collapsed: modes lost, weights shifted, spread shrunk, left the data, memorised."""
    if out is not None:
        there = [p for p in map(writable, [out / f"diagnosis.{e}" for e in ("json", "csv", "svg", "pdf", "html")])]
        if not overwrite and any(p.exists() for p in there):
            raise ValueError(f"{out} holds a diagnosis already: name another folder, or replace it with --overwrite")
    if (labels is None) != (reference_labels is None) or sum(v is not None for v in (labels, centres, walls)) > 1:
        raise ValueError("--labels and --reference-labels come together, and only one of --labels, --centres, --walls")
    from diffrl_lab.analysis import around
    from diffrl_lab.analysis import diagnose as judged
    from diffrl_lab.widgets import diagnosis

    found = judged(
        samples,
        reference,
        modes=(labels, reference_labels) if labels else around(walls) if walls else centres,
        states=True if states == "each" else states,
        reference_states=reference_states,
        seed=seed,
        progress=sys.stderr.isatty(),
    )
    typer.echo(found.table())
    for path in diagnosis.write(found, out) if out is not None else ():
        typer.echo(path)


# ------------------------------------------------------------------------------------------------------------- studies
def _studies(begun: str = "") -> list[str]:
    from diffrl_lab.studies import names

    return [name for name in names() if name.startswith(begun)]


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="What is studied (docs/studies.md).", autocompletion=_studies)],
    part: Annotated[str | None, typer.Argument(help="One of its parts; all by default.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training seeds 0 to N - 1; by default as it ships.")] = None,
) -> None:
    """Compute a study again, or a part of it, into data/results (minutes to hours; points that are kept are taken)."""
    from diffrl_lab.studies import study as studies

    try:
        studies.main(name, part, seeds, typer.echo)
    except (ValueError, OSError) as error:
        typer.echo(f"diffrl-lab study: {error}", err=True)
        raise typer.Exit(2) from None


# ------------------------------------------------------------------------------------------------------------- lessons
@app.command()
def start(
    lesson: Annotated[str, typer.Argument(help="A number or name, such as 01; or blank-01, blank-05.")],
    reset: Annotated[bool, typer.Option("--reset", help="Begin again; your copy is set aside under a number.")] = False,
) -> None:
    """Put a copy of a lesson into my/, where you may change it. A copy that is there already is never overwritten."""
    from diffrl_lab.course import blank as pages
    from diffrl_lab.course import editions as course

    name, _, number = lesson.partition("-")
    blank = name == "blank" and number in pages.FUNCTIONS
    mine, aside = pages.start(number, reset=reset) if blank else course.start(lesson, reset=reset)
    if aside:
        typer.echo(f"your earlier copy is now {aside.relative_to(course.ROOT)}")
    typer.echo(f"{mine.relative_to(course.ROOT)} is yours: open it in JupyterLab")


# Typer has no repeatable option of two values: unknown options are passed on and split off in course.split_parameters.
@app.command(context_settings={"ignore_unknown_options": True})
def run(
    words: Annotated[list[str], typer.Argument(metavar="LESSON...|all [-p NAME VALUE]...", help="VALUE is YAML.")],
    profile: Annotated[str, typer.Option(help="smoke: seconds, class: a minute, full: trains everything.")] = "class",
    out: Annotated[Path, typer.Option(help="Folder for the executed notebooks.")] = Path("runs"),
    solutions: Annotated[bool, typer.Option("--solutions", help="Run the edition that holds the answers.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Also as pages that need no kernel and no network.")] = False,
) -> None:
    """Run lessons with a profile and parameters; the executed notebooks and report.json go into a folder."""
    import json

    from diffrl_lab.course import running as course
    from diffrl_lab.files import write_text
    from diffrl_lab.publish import pages

    with _cells():
        summary = writable(out / "report.json")
        which, parameters = course.split_parameters(words)
        parameters = {"PROFILE": profile} | parameters
        done = course.run(
            which, parameters, out, solutions=solutions, page=pages.write if html else None, progress_bar=True
        )
        for path, seconds, peak in done:
            typer.echo(f"{path.with_suffix('.html') if html else path}  {seconds:.0f} s  {peak} MB")
        about = course.report(done, f"diffrl-lab run {' '.join(words)} --profile {profile}")
        write_text(summary, json.dumps(about, indent=1) + "\n")


@lessons.command()
def build(
    which: Annotated[list[str] | None, typer.Argument(metavar="[LESSON...]", help="All by default.")] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Execute the learner's edition.")] = True,
) -> None:
    """Build the lessons' notebooks from notebooks/source, and their pages in build/html."""
    from diffrl_lab.publish import lessons as course

    with _cells():
        for path, seconds in course.build(which or (), run=run):
            typer.echo(f"{path.relative_to(course.ROOT)}  {seconds:.0f} s  {path.stat().st_size // 1000} kB")


@lessons.command()
def check(
    which: Annotated[list[str] | None, typer.Argument(metavar="[LESSON...]", help="All by default.")] = None,
) -> None:
    """Fail where a stored notebook is not what its source builds."""
    from diffrl_lab.publish import lessons as course

    lines = [line for source in course.sources(which or ()) for line in course.differences(source)]
    typer.echo("\n".join(lines) or "every notebook is what its source builds")
    raise typer.Exit(int(bool(lines)))


@app.command()
def blank(
    number: Annotated[str, typer.Argument(help="01: a DDPM; 05: classifier-free guidance; at most 60 lines.")],
    page: Annotated[Path, typer.Argument(help="Your file, such as my/blank_01.py.")],
    seed: Annotated[int, typer.Option(help="For the data and the questions.")] = 0,
) -> None:
    """Judge a blank page by laws: nothing of ours is imported, no answer is compared."""
    from diffrl_lab.course import blank as pages

    verdict = pages.judge(page, seed, number)
    typer.echo(f"{verdict.message}")
    raise typer.Exit(0 if verdict.ok else 1)


@app.command("grade")
def preflight(
    notebook: Annotated[Path, typer.Argument(help="Your copy of a lesson, such as my/01_ddpm.ipynb.")],
) -> None:
    """Grade your own notebook as your instructor will, before you hand it in."""
    from diffrl_lab.classroom import grading

    result = grading.preflight(notebook, lambda line: typer.echo(line, err=True))
    typer.echo(grading.table(result))


@app.command()
def progress(
    export: Annotated[Path | None, typer.Option(help="Write a copy of the record to this JSON file.")] = None,
) -> None:
    """Show what you have solved, begun and looked up; the record leaves your machine only if you export it."""
    from diffrl_lab.course import overview
    from diffrl_lab.course import progress as journal

    if export is None:
        typer.echo(repr(overview()))
        return
    journal.export(export)
    typer.echo(f"your record is in {export}")


# -------------------------------------------------------------------------------------------------------------- course
@course_app.command()
def release(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder; its key is written beside it.")],
    variant: Annotated[str, typer.Option(help="The cohort's number or word. Keep it from the students.")],
    which: Annotated[list[str] | None, typer.Argument(metavar="[LESSON...]", help="All by default.")] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Try each notebook before it is written.")] = True,
) -> None:
    """Write student editions for one cohort: other constants, other seeds, an injected bug; no answers inside."""
    from diffrl_lab.classroom import release as editions

    key = editions.release(folder, variant, which or (), run=run, tell=typer.echo)
    typer.echo(f"{len(list(folder.glob('*.ipynb')))} notebooks in {folder}; {key} stays with you")


@course_app.command()
def grade(
    submissions: Annotated[Path, typer.Argument(help="A folder of notebooks, or of one folder per student.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; an interrupted grading goes on from there.")],
    lesson: Annotated[str | None, typer.Option(help="Grade every file as this lesson, such as 01.")] = None,
    workers: Annotated[int | None, typer.Option(help="Sandboxes side by side; by default one a core.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Grade anew what was graded before.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust-submissions", help="Run them WITHOUT a sandbox: they can do whatever you can.")
    ] = False,
) -> None:
    """Grade notebooks in a sandbox; one JSON for each submission, and grades.json with all of them."""
    from diffrl_lab.classroom import grading

    graded = grading.grade(submissions, out, lesson=lesson, workers=workers, again=again, trust=trust, tell=typer.echo)
    typer.echo(f"{len(graded)} submissions in {out / 'grades.json'}")


@course_app.command()
def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that `course grade` wrote.")],
    submissions: Annotated[Path | None, typer.Option(help="What was graded: for similarities.")] = None,
    roster: Annotated[Path | None, typer.Option(help="CSV: student, name, id, email, section.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="The key of the release: mistakes, weights, grace, extensions.")
    ] = None,
    override: Annotated[Path | None, typer.Option(help="CSV: student, exercise, marks, reason.")] = None,
    deadline: Annotated[list[str] | None, typer.Option(help="[LESSON=]TIME, such as 01=2026-11-20T18:00Z.")] = None,
    penalty: Annotated[float, typer.Option(help="Share of the marks that each started day of lateness costs.")] = 0.1,
    attempts: Annotated[str, typer.Option(help="last (in time) or best: which of several counts.")] = "last",
    names: Annotated[bool, typer.Option("--names", help="Names instead of pseudonyms.")] = False,
    lms: Annotated[
        list[str] | None, typer.Option(help="moodle or canvas: marks and feedback for the upload, with names.")
    ] = None,
) -> None:
    """Report on a grading: an index page, CSV, JSON, feedback for each student, similar answers."""
    from diffrl_lab.classroom import report as reports

    rules = reports.Rules(attempts, reports.deadlines(deadline or ()), penalty)
    page = reports.report(
        out,
        submissions=submissions,
        roster=roster,
        key=key,
        overrides=override,
        rules=rules,
        names=names,
        lms=lms or (),
        tell=typer.echo,
    )
    typer.echo(f"{page}; {out / 'pseudonyms.json'} says who is who, and stays with you")


# --------------------------------------------------------------------------------------------------------- installation
@app.command()
def doctor() -> None:
    """Say what is wrong with this installation, and what to do about it."""
    from diffrl_lab.doctor import report

    raise typer.Exit(report())


@app.command()
def version() -> None:
    """Print the version."""
    _version(True)


@app.command()
def completion(shell: Annotated[str, typer.Argument(help="bash, zsh, fish, powershell or pwsh.")]) -> None:
    """Print what makes a shell complete our commands: bash: eval "$(diffrl-lab completion bash)" in ~/.bashrc."""
    from typer import completion as scripts

    if shell not in (shells := [s.value for s in scripts.Shells]):
        raise ValueError(f"no completion for {shell!r}; there is one for {', '.join(shells)}")
    typer.echo(scripts.get_completion_script(prog_name="diffrl-lab", complete_var=COMPLETE, shell=shell))


if __name__ == "__main__":
    app()
