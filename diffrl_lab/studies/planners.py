"""What the commands `train` and `evaluate` do: from a maze's name to a recording, a training and numbers."""

from __future__ import annotations

import contextlib
import json as json_
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Run
from diffrl_lab.files import ROOT, WEIGHTS, provenance, writable, write_text
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import CONFIGS, RUNGS, Agent, Config, Diffuser, OwnActions
from diffrl_lab.methods.planning.plans import is_held_out
from diffrl_lab.worlds.mazes import Controller, make_maze
from diffrl_lab.worlds.walls import Walls

METHODS = ("planner", "pd", "bc", "retrieval", "own-actions", "controller")
OUT = Path("runs/weights")  # where `train` writes
OVERFIT = 8  # episodes that the overfit rung is trained on


def train(
    name: str,
    *,
    seed: int = 0,
    dataset: str | None = None,
    env: str | None = None,
    updates: int | None = None,
    out: Path = OUT,
    ladder: bool = False,
    held_out: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    ship: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Train `name` and write its weights -> the files, the good rung first.

    The run is checkpointed every 500 updates beside them, and at Ctrl-C; `resume` goes on from there, bit for bit.
    Raises ValueError, before any work, where weights or a checkpoint would be replaced (unless `overwrite` or `ship`),
    and for `resume` where there is no checkpoint; OSError where nothing can be written. KeyboardInterrupt, with a text
    that says how to go on, once the checkpoint is written.
    """
    maze = _maze(name)
    if maze is None and dataset is None:
        raise ValueError(
            f"{name!r} is none of {', '.join(f'maze-{m}' for m in CONFIGS)}; for a planner of your own "
            "give --dataset (and --env, to evaluate it)"
        )
    config = CONFIGS.get(maze or "", Config())
    config = config if updates is None else replace(config, updates=updates)
    if ship:
        from diffrl_lab.data.shipped import DATA

        out = DATA / "weights"
    tag = "-held-out" if held_out else ""
    rungs = [r for r in RUNGS if r == "good" or ladder and not (ship and r == "untrained")]  # which a seed makes again
    paths = {rung: out / f"{name}{tag}-{RUNGS[rung]}.safetensors" for rung in rungs}
    checkpoint = out / f"{name}{tag}-seed{seed}.checkpoint.safetensors"
    ahead = [p for rung, p in paths.items() if not resume or rung in ("good", "overfit")]  # the others are this run's
    try_outputs(ahead, checkpoint, resume, overwrite or ship)
    episodes, source = recording(name, dataset, progress)
    origin = _origin(maze, env) if held_out else None
    about = {"name": name, "maze": maze, "dataset": source, "env": env}

    begun = time.perf_counter()
    run = diffuser.train(episodes, config, seed=seed, held_out=origin)
    if resume:
        run.load(checkpoint)
    elif "untrained" in paths:
        run.model.save(paths["untrained"], **about, rung="untrained")
    for row in until_stopped(bar_of(run, name, progress), run, checkpoint):
        if ladder and row["step"] == max(1, config.updates // 10):
            run.model.save(paths["10%"], **about, rung="10%")
        if row["step"] % 500 == 0 and row["step"] < config.updates:
            run.save(checkpoint)
    seconds = round(time.perf_counter() - begun, 1)
    run.model.save(paths["good"], **about, rung="good", seconds=seconds, threads=torch.get_num_threads())
    checkpoint.unlink(missing_ok=True)
    files = [paths["good"]]
    if ladder:
        few = diffuser.train(
            episodes[: min(OVERFIT, len(episodes))], replace(config, updates=max(1, config.updates // 4)), seed=seed
        )
        for _ in bar_of(few, f"{name}, overfit", progress):
            pass
        few.model.save(paths["overfit"], **about, rung="overfit")
        files = [paths["good"], *(p for rung, p in paths.items() if rung != "good")]
    if ship:
        from diffrl_lab.data.shipped import add

        for path in files:
            add(f"weights/{path.name}", f"diffrl-lab train {name} --seed {seed} --ladder --ship", seed)
    return files


def try_outputs(paths: list[Path], checkpoint: Path, resume: bool, overwrite: bool) -> None:
    """Raises, before any work, what `train` says of files that are there or cannot be written."""
    for path in (checkpoint, *paths):
        writable(path)
    if resume and not checkpoint.is_file():
        raise ValueError(f"there is no checkpoint {checkpoint} to go on from; leave out --resume to begin")
    if checkpoint.is_file() and not (resume or overwrite):
        raise ValueError(
            f"{checkpoint} is what a stopped training left: go on with --resume, name another folder with --out, or "
            "--overwrite it"
        )
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise ValueError(f"{', '.join(there)} would be replaced: name another folder with --out, or --overwrite")


def until_stopped(rows: Iterable[dict[str, Any]], run: Run, checkpoint: Path) -> Iterator[dict[str, Any]]:
    """The rows of a training until Ctrl-C: the update at hand is finished, the checkpoint written. A second Ctrl-C
    stops at once."""
    stops: list[int] = []

    def stop(number: int, _: Any) -> None:
        stops.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()  # no other may listen to signals
    if here:
        signal.signal(signal.SIGINT, stop)
    try:
        for row in rows:
            yield row
            if stops:
                run.save(checkpoint)
                raise KeyboardInterrupt(
                    f"stopped after {run.step} of {run.updates} updates, which are in {checkpoint}: "
                    "the same command with --resume goes on"
                )
    finally:
        if here:
            signal.signal(signal.SIGINT, before)


def evaluate(
    name: str,
    *,
    episodes: int = 100,
    seed: int = 0,
    method: str = "planner",
    weights: Path | None = None,
    rung: str = "good",
    dataset: str | None = None,
    env: str | None = None,
    held_out: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """`analysis.evaluate.evaluate` of a method on `episodes` seeds from `seed` on, and its provenance: JSON-able."""
    from diffrl_lab.analysis.evaluate import evaluate as measure

    if method not in METHODS:
        raise ValueError(f"a method is one of {', '.join(METHODS)}; got {method!r}")
    if episodes < 1 or seed < 0:
        raise ValueError(f"episodes must be at least 1 and seed at least 0, got {episodes} and {seed}")
    maze, planner = _maze(name), None
    about: dict[str, Any] = {}
    if method in ("planner", "own-actions"):
        planner = Diffuser.load(weights if weights is not None else name, rung)
        shipped = "good" if rung == "untrained" else rung  # whose seed makes the untrained ones again
        file = weights if weights is not None else WEIGHTS / f"{name}-{RUNGS[shipped]}.safetensors"
        about = {"file": f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}"}
        about |= {k: planner.about.get(k) for k in ("seed", "trained", "dataset", "seconds", "rung", "held_out")}
        env = env or planner.about.get("env")
        if held_out and not planner.about.get("held_out"):
            raise ValueError("--held-out needs weights that were trained with --held-out; give them with --weights")
    world = _world(maze, env, name)
    origin = _origin(maze, env) if held_out else None
    seeds = _seeds(world, episodes, seed, origin)
    agent = _agent(method, planner, world, maze, name, dataset, origin)
    if agent is planner is None:
        raise ValueError(f"{method} could not be made for {name}")
    if about and progress:
        print(driven(about) + _own_weights(name, weights), file=sys.stderr, flush=True)
    bar = progress_bar(len(seeds), f"{name}, {method}", progress)
    with bar:
        result = measure(world, agent, seeds, maze=maze, on_episode=lambda _: bar.update(1))
    world.close()
    return {"name": name, "method": method, **result, "held_out": held_out, "weights": about or None, **provenance()}


def _own_weights(name: str, weights: Path | None) -> str:
    mine = OUT / f"{name}-{RUNGS['good']}.safetensors"
    return f"; those trained here: --weights {mine}" if weights is None and mine.is_file() else ""


def driven(weights: dict[str, Any]) -> str:
    """Which weights were driven, in a line: file, training seed, updates."""
    return f"weights {weights['file']} (training seed {weights['seed']}, {weights['trained']} updates)"


def report(found: dict[str, Any], target: str | None) -> str:
    """The result as text: JSON for target "-", nothing after writing it to a file, a few lines for target None."""
    text = json_.dumps(found, indent=1)
    if target == "-":
        return text
    if target is not None:
        write_text(target, text + "\n")
        return ""
    lines = [f"{found['name']}, {found['method']}, {found['episodes']} episodes from seed {found['seeds'][0]}"]
    lines += [driven(found["weights"])] if found.get("weights") else []
    shown = {"success": ".1%", "score" if "score" in found else "return": ".1f"}
    for key, form in shown.items():
        if found[key] is not None:  # a world need not say what a success is
            low, high = found[f"{key}_interval"]
            lines.append(f"{key:<7} {found[key]:{form}}  [{low:{form}}, {high:{form}}]")
    for key in (
        "path_ratio",
        "plan_points_in_walls",
        "plan_segments_in_walls",
        "seconds_per_plan",
        "plans_per_episode",
    ):
        if found.get(key) is not None:
            lines.append(f"{key.replace('_', ' ')} {found[key]:.3f}")
    return "\n".join(lines)


def _maze(name: str) -> str | None:
    maze = name.removeprefix("maze-")
    return maze if name.startswith("maze-") and maze in CONFIGS else None


def recording(name: str, dataset: str | None = None, progress: bool = True) -> tuple[Episodes, str]:
    """The recording that `name` is trained on, and its name; a maze's own is recorded now if it is not there."""
    from diffrl_lab.data import minari as recordings
    from diffrl_lab.worlds.record import record

    if dataset is not None:
        return recordings.read(dataset), dataset
    maze = _maze(name)
    own = f"pointmaze-{maze}-p50-v0" if maze == "two-ways" else f"pointmaze-{maze}-v0"
    with contextlib.suppress(ValueError):
        return recordings.read(own), own
    record(f"pointmaze-{maze}", progress=progress)
    return recordings.read(own), own


@lru_cache(maxsize=2)
def expert(maze: str) -> Episodes:
    """The full recording of a maze, read once for all seeds of a study."""
    return recording(f"maze-{maze}", progress=False)[0]


def _world(maze: str | None, env: str | None, name: str):
    if env is not None:
        import gymnasium

        from diffrl_lab.worlds.walls import register

        register()
        try:
            options = {"continuing_task": True, "reset_target": False} if "PointMaze" in env else {}
            return gymnasium.make(env, **options)
        except gymnasium.error.Error as error:
            raise ValueError(f"no environment {env!r}: {error}") from error
    if maze is None:
        raise ValueError(f"{name!r} is no maze of ours; say with --env where to drive")
    return make_maze(maze)


def _origin(maze: str | None, env: str | None) -> tuple[float, float]:
    """A corner of the grid of cells, which --held-out splits the tasks by."""
    if maze is None and env is None:
        raise ValueError("--held-out needs a maze whose cells are known: one of ours, or --env")
    world = _world(maze, env, "")
    try:
        left, _, bottom, _ = Walls.of(world).extent
    finally:
        world.close()
    return left, bottom


def _seeds(world, episodes: int, seed: int, origin: tuple[float, float] | None) -> list[int]:
    if origin is None:
        return list(range(seed, seed + episodes))
    seeds: list[int] = []
    while len(seeds) < episodes:
        obs, _ = world.reset(seed=seed)
        if bool(is_held_out(torch.tensor(obs["observation"]), torch.tensor(obs["desired_goal"]), origin)):
            seeds.append(seed)
        seed += 1
    return seeds


def _agent(
    method: str,
    planner: Diffuser | None,
    world,
    maze: str | None,
    name: str,
    dataset: str | None,
    origin: tuple[float, float] | None,
) -> Any:
    from diffrl_lab.methods.baselines.retrieval import retrieval
    from diffrl_lab.methods.baselines.straight import straight
    from diffrl_lab.methods.policies import cloning

    if planner is not None:
        return Agent(planner) if method == "planner" else OwnActions(planner)
    if method == "pd":
        return straight()
    if method == "controller":
        return Controller(Walls.of(world), left=0.5 if maze == "two-ways" else None)
    if maze is None and dataset is None:
        raise ValueError(f"{method} learns from a recording; give --dataset")
    episodes, _ = recording(name, dataset, progress=False)
    if method == "retrieval":
        return retrieval(episodes, held_out=origin)
    run = cloning.train(episodes, goal=episodes.obs.shape[1] // 2, held_out=origin)
    for _ in run:
        pass
    return cloning.Agent(run.model)


def progress_bar(total: int, what: str, shown: bool):
    """A progress bar of `total` steps, or nothing that is seen."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, disable=not shown)


def bar_of(run: Run, what: str, shown: bool):
    """The rows of a training, a progress bar beside them."""
    with progress_bar(run.updates, what, shown) as bar:
        bar.update(run.step)
        for row in run:
            bar.update(1)
            if row["step"] % 100 == 0:
                bar.set_postfix_str(f"loss {float(row['loss']):.3f}")
            yield row
