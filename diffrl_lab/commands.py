"""What the commands `train METHOD DATASET` and `evaluate WEIGHTS [ENV]` do: any method, any recording, any world."""

from __future__ import annotations

import inspect
import time
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any

from diffrl_lab import methods

OWN = ("episodes", "config", "seed")  # what `train` gets from elsewhere than --set


def settings(method: ModuleType, pairs: Sequence[tuple[str, str]]) -> tuple[Any, dict[str, Any]]:
    """The config of a method and the arguments of its `train` that `--set NAME VALUE` pairs name; VALUE is YAML.

    Raises ValueError for a name that neither has (all names are listed) and for a value of another type.
    """
    fields = typing.get_type_hints(method.Config)
    hints = typing.get_type_hints(method.train)
    others = {k: hints[k] for k in inspect.signature(method.train).parameters if k not in OWN}
    config: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, text in pairs:
        if name not in fields | others:
            known = ", ".join([*fields, *others])
            raise ValueError(f"{method.__name__.rpartition('.')[2]} has no {name!r} to be set; it has {known}")
        (config if name in fields else options)[name] = _value(name, text, (fields | others)[name])
    missing = [k for k, p in inspect.signature(method.train).parameters.items() if p.default is p.empty]
    missing = [k for k in missing if k not in OWN and k not in options]
    if missing:
        raise ValueError(f"{method.__name__.rpartition('.')[2]} needs --set {missing[0]} VALUE")
    return method.Config(**config), options


def _value(name: str, text: str, kind: Any) -> Any:
    """A word as a value of the type `kind`."""
    import yaml

    if isinstance(kind, type) and hasattr(kind, "load"):  # a model that was trained before, by its name or path
        return kind.load(text)
    value = yaml.safe_load(text)
    for one in typing.get_args(kind) if isinstance(kind, UnionType) else (kind,):
        origin = typing.get_origin(one) or one
        if origin is tuple and isinstance(value, list):
            return tuple(value)
        if origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(origin, type) and isinstance(value, origin) and (origin is bool or not isinstance(value, bool)):
            return value
    wanted = getattr(kind, "__name__", str(kind))
    raise ValueError(f"{name} is {wanted}; got {text!r}, which is {type(value).__name__}")


def train(
    method: str,
    dataset: str,
    pairs: Sequence[tuple[str, str]] = (),
    *,
    seed: int = 0,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train a method on a recording -> the file of its weights, METHOD-DATASET.safetensors in the folder `out`.

    The run is checkpointed every 500 updates and at Ctrl-C; `resume` goes on from there, bit for bit. Raises ValueError
    for what does not exist, and, before any work, where a file would be replaced (unless `overwrite`).
    """
    from diffrl_lab.data import minari
    from diffrl_lab.studies import planners

    module = methods.named(method)
    config, options = settings(module, pairs)
    stem = f"{method}-{Path(dataset).name}"
    path, checkpoint = out / f"{stem}.safetensors", out / f"{stem}-seed{seed}.checkpoint.safetensors"
    planners.try_outputs([path], checkpoint, resume, overwrite)
    episodes, said = minari.read(dataset), minari.about(dataset)
    world = {"env": said.get("env_spec"), "limit": int(said.get("ref_episode_steps", episodes.lengths.max()))}
    run = module.train(episodes, config, seed=seed, **options)
    if resume:
        run.load(checkpoint)
    begun = time.perf_counter()
    for row in planners.until_stopped(planners.bar_of(run, stem, progress), run, checkpoint):
        if row["step"] % 500 == 0 and row["step"] < run.updates:
            run.save(checkpoint)
    run.model.save(path, dataset=dataset, **world, seconds=round(time.perf_counter() - begun, 1))
    checkpoint.unlink(missing_ok=True)
    return path


def evaluate(
    weights: Path, env: str | None = None, *, episodes: int = 100, seed: int = 0, progress: bool = True
) -> dict[str, Any]:
    """Drive the agent of a weights file in a Gymnasium environment, by default the one of its recording: JSON-able.

    Raises ValueError for weights of a method that does not act, and where no environment is known.
    """
    import gymnasium

    from diffrl_lab.analysis.evaluate import evaluate as measure
    from diffrl_lab.files import provenance
    from diffrl_lab.methods.weights import method_of
    from diffrl_lab.studies import planners

    module, cls = methods.of_class(method_of(weights))
    if not hasattr(module, "Agent"):
        raise ValueError(f"{weights} holds a {cls.__name__}, which is sampled and does not act")
    model = cls.load(weights)
    world = _made(env or model.about.get("env"), weights, gymnasium)
    if world.spec.max_episode_steps is None:  # as mazes are recorded
        world = gymnasium.wrappers.TimeLimit(world, model.about.get("limit", 1000))
    with planners.progress_bar(episodes, weights.stem, progress) as bar:
        result = measure(world, module.Agent(model), range(seed, seed + episodes), on_episode=lambda _: bar.update(1))
    world.close()
    name = env or world.spec.id
    about = {k: v for k, v in model.about.items() if k in ("seed", "trained", "dataset", "data")}
    return {"name": name, "method": cls.__name__, **result, "weights": {"file": str(weights), **about}, **provenance()}


def _made(spec: str | Mapping[str, Any] | None, weights: Path, gymnasium: Any) -> Any:
    """An environment by its id, or by the specification that a recording holds."""
    from diffrl_lab.worlds.walls import register

    if spec is None:
        raise ValueError(f"{weights} does not say where it was recorded; give an environment, such as Pendulum-v1")
    register()
    try:
        if isinstance(spec, str) and not spec.startswith("{"):
            return gymnasium.make(spec)
        import json

        from gymnasium.envs.registration import EnvSpec

        return gymnasium.make(EnvSpec.from_json(spec if isinstance(spec, str) else json.dumps(spec)))
    except gymnasium.error.Error as error:
        raise ValueError(f"no environment {spec!r}: {error}") from error
