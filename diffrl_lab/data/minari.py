"""Recordings: PointMaze with the scripted controller into Minari datasets, and any Minari dataset into Episodes.

(`worlds.robots` records Hopper, HalfCheetah and Walker2d with the same writer.)
A Minari dataset is a folder `<id>/data` with main_data.hdf5 and metadata.json below a root, MINARI_DATASETS_PATH or
~/.minari/datasets (Younis et al. 2024). Everything written here opens in Minari itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.files import written

NEEDS_MINARI = 'Minari datasets need Minari with HDF5: pip install "minari[hdf5]"'


def place(dataset_id: str, out: str | os.PathLike | None, overwrite: bool) -> Path:
    """The folder of a dataset to be written below out (default: Minari's own); ValueError when it is there already."""
    _minari()
    folder = (Path(out) if out is not None else _root()).expanduser().resolve() / dataset_id  # Minari needs it absolute
    if folder.exists() and not overwrite:
        raise ValueError(f"{folder} exists already; read it, overwrite it with --overwrite, or give another --out")
    return folder


def write(folder: Path, episodes: list[dict], spaces: tuple, about: dict, *, overwrite: bool = False) -> None:
    """Episodes and what is said of them -> a Minari dataset, written beside the folder, packed, moved into place.

    An episode is a dict: obs ([L + 1, d] or a dict of such), act [L, a], rew [L], seed, told (its metadata, the same
    keys in all), and where it applies infos (a dict of [L + 1, k]) and terminal (True: its last step terminated it;
    else that step is a time limit). spaces: observation space, action space and spec of the environment.
    Raises ValueError where the folder is there when the work is done, unless `overwrite`.
    """
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    observations, actions, spec = spaces

    def single(space: Any) -> Any:
        if space.dtype == np.uint8:  # pictures stay bytes
            return space
        return gymnasium.spaces.Box(-np.inf, np.inf, space.shape, np.float32)

    observations = (
        gymnasium.spaces.Dict({k: single(s) for k, s in observations.items()})
        if isinstance(observations, gymnasium.spaces.Dict)
        else single(observations)
    )
    try:
        with written(folder, replace=overwrite) as work:
            work.mkdir()
            storage = MinariStorage.new(work / "data", observations, actions, spec)
            storage.update_metadata({**about, "minari_version": minari.__version__})
            storage.update_episodes(
                EpisodeBuffer(
                    id=number,
                    seed=e["seed"],
                    observations=e["obs"],
                    actions=e["act"],
                    rewards=e["rew"],
                    terminations=_last(len(e["rew"]), e.get("terminal", False)),
                    truncations=_last(len(e["rew"]), not e.get("terminal", False)),
                    infos=e.get("infos"),
                )
                for number, e in enumerate(episodes)
            )
            if episodes[0]["told"]:
                storage.update_episode_metadata([e["told"] for e in episodes])
            _pack(work / "data" / "main_data.hdf5")
            storage.update_metadata({"dataset_size": storage.get_size()})
    except FileExistsError:
        raise ValueError(f"{folder} was written by somebody else meanwhile; nothing of it was replaced") from None


def _last(steps: int, value: bool) -> np.ndarray:
    """[steps] of bool: `value` in the last, False before."""
    return (np.arange(steps) == steps - 1) & value


def _pack(path: Path) -> None:
    """Rewrite an HDF5 file with the same groups, arrays and attributes, compressed: a fifth of Minari's own size."""
    import h5py

    with written(path) as packed, h5py.File(path, "r") as old, h5py.File(packed, "w", libver="latest") as new:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                entry = new.create_dataset(
                    name, data=item[()], chunks=item.shape, compression="gzip", compression_opts=9, shuffle=True
                )
            else:
                entry = new.require_group(name)
            entry.attrs.update(item.attrs)

        for number in range(len(old)):
            copy(f"episode_{number}", old[f"episode_{number}"])
            old[f"episode_{number}"].visititems(lambda name, item, n=number: copy(f"episode_{n}/{name}", item))


def read(
    dataset: str | os.PathLike,
    obs_keys: Sequence[str] | None = None,
    split: str | None = None,
    *,
    without: Sequence[int] = (),
) -> Episodes:
    """Any Minari dataset whose spaces are numbers, or a Dict of such as observations -> Episodes (float32).

    Box is read as it is, images (uint8, at least two axes) stay bytes; Discrete and MultiDiscrete become one-hot,
    MultiBinary 0 and 1.

    dataset: a folder; the id of a dataset below MINARI_DATASETS_PATH or ~/.minari/datasets; or a remote id such as
    D4RL/pointmaze/large-v2, which Minari downloads there first. obs_keys: which entries of a Dict become obs, joined
    in this order, e.g. ("observation", "desired_goal"); default: "observation". split: "test" for every tenth episode,
    "train" for the others. without: numbers of episodes to leave out.
    An episode that Minari calls terminated ends TERMINAL, every other one TIME_LIMIT.
    Raises ValueError that says what to do: unknown or damaged dataset, no network, other spaces, unknown keys; an
    episode with NaN, of unequal lengths, or that goes on after its end is named with its step.
    """
    _minari()
    folder = _find(dataset)
    storage = _storage(folder)
    _check_spaces(storage, obs_keys, folder)
    chosen = _chosen(storage, split, folder, without)
    parts = []
    try:
        for number, episode in zip(chosen, storage.get_episodes(chosen), strict=True):
            obs = _joined(episode["observations"], storage.observation_space, obs_keys)
            act = _numbers(episode["actions"], storage.action_space)
            act = act.reshape(len(act), -1).astype(np.float32)
            rew = np.asarray(episode["rewards"], np.float32).reshape(-1)
            _check_episode(folder, number, obs, act, rew, episode)
            parts.append((obs, act, rew, bool(np.asarray(episode["terminations"])[-1])))
    except (OSError, KeyError, AssertionError, RuntimeError) as error:
        raise ValueError(_damaged(folder, error)) from error
    return Episodes.join(parts)


def _check_episode(folder: Path, number: int, obs: np.ndarray, act: np.ndarray, rew: np.ndarray, episode: dict) -> None:
    """ValueError that names the episode, and the step, of what is not as Minari stores it: lengths, flags, NaN."""
    where = f"{folder}, episode {number}"
    out = "; leave the episode out with read(..., without=[NUMBER])"
    flags = {name: np.asarray(episode[f"{name}s"], bool).reshape(-1) for name in ("termination", "truncation")}
    L = len(rew)
    if not L or len(obs) != L + 1 or len(act) != L or any(len(flag) != L for flag in flags.values()):
        raise ValueError(
            f"{where}: L actions and rewards need L + 1 observations and L flags, L >= 1; got {len(act)}, {L}, "
            f"{len(obs)} and {[len(flag) for flag in flags.values()]}{out}"
        )
    for name, flag in flags.items():
        if flag[:-1].any():
            raise ValueError(
                f"episode {number} of {folder} goes on after a {name} in step {int(flag.argmax())}; "
                f"Minari's episodes end there: store what "
                f"follows as an episode of its own, or{out.removeprefix(';')}"
            )
    for name, values in (("obs", obs), ("act", act), ("rew", rew)):
        wrong = ~np.isfinite(values.reshape(len(values), -1)).all(1)
        if wrong.any():
            step = int(wrong.argmax())
            raise ValueError(f"{where}: {name} must be finite, got {values[step].tolist()} in step {step}{out}")


def infos(
    dataset: str | os.PathLike, keys: Sequence[str], split: str | None = None, *, without: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    """What a Minari dataset keeps beside observations -> {key: [N, ...]}, row for row those of `read`.

    keys: e.g. ("qpos", "qvel"), the simulator's state in a locomotion recording. The stored dtype is kept.
    Raises ValueError for a dataset without such infos, naming those there are, and as `read` does.
    """
    _minari()
    folder = _find(dataset)
    storage = _storage(folder)
    if isinstance(keys, str):
        raise ValueError(f"keys must be a sequence of names such as ({keys!r},), got the string {keys!r}")
    columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    try:
        chosen = _chosen(storage, split, folder, without)
        for number, episode in zip(chosen, storage.get_episodes(chosen), strict=True):
            held = episode["infos"] or {}
            for key, parts in columns.items():
                values = held.get(key)
                if not isinstance(values, np.ndarray) or len(values) != len(episode["rewards"]) + 1:
                    fit = [
                        k
                        for k, v in held.items()
                        if isinstance(v, np.ndarray) and len(v) == len(episode["rewards"]) + 1
                    ]
                    raise ValueError(
                        f"episode {number} of {folder} has no info {key!r} with a row for each "
                        f"observation ({len(episode['rewards']) + 1} rows"
                        + (f", got {len(values)}" if isinstance(values, np.ndarray) else "")
                        + f"); it has {fit or 'none'}"
                    )
                parts.append(values)
    except (OSError, KeyError, AssertionError, RuntimeError) as error:
        raise ValueError(_damaged(folder, error)) from error
    return {key: np.concatenate(parts) for key, parts in columns.items()}


def _chosen(storage, split: str | None, folder: Path, without: Sequence[int] = ()) -> list[int]:
    """The numbers of a split's episodes, less those left out."""
    if split not in (None, "train", "test"):
        raise ValueError(f'split must be None, "train" or "test", got {split!r}')
    n = storage.total_episodes
    if wrong := [i for i in without if not 0 <= i < n]:
        raise ValueError(f"{folder} has the episodes 0 to {n - 1}; got without={wrong}")
    chosen = [i for i in range(n) if i not in without and (split is None or (i % 10 == 9) == (split == "test"))]
    if not chosen:
        raise ValueError(f"{folder} holds {storage.total_episodes} episodes: too few for the split {split!r}")
    return chosen


def about(dataset: str | os.PathLike) -> dict[str, Any]:
    """What a Minari dataset says of itself: its metadata and, under "episodes", one dict per episode (seed, side)."""
    _minari()
    folder = _find(dataset)
    storage = _storage(folder)
    try:
        episodes = list(storage.get_episode_metadata(range(storage.total_episodes)))
    except (OSError, KeyError, AssertionError, RuntimeError) as error:
        raise ValueError(_damaged(folder, error)) from error
    return {**storage.metadata, "episodes": episodes}


def _minari() -> None:
    try:
        import h5py  # noqa: F401
        import minari  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{NEEDS_MINARI} ({error})") from None


def _root() -> Path:
    """Where Minari keeps its datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def _find(dataset: str | os.PathLike) -> Path:
    """The folder that holds metadata.json, downloaded first if the id is a remote one."""
    from minari.dataset.minari_dataset import parse_dataset_id

    name = os.fspath(dataset)
    path = Path(name).expanduser()
    for folder in (path, path / "data", _root() / name / "data"):
        if (folder / "metadata.json").is_file():
            return folder
    if path.exists():
        raise ValueError(
            f"{path} is not a Minari dataset: a folder with data/metadata.json was wanted, got "
            + (f"{sorted(p.name for p in path.iterdir())[:5]}" if path.is_dir() else "a file")
        )
    try:
        namespace, plain, _ = parse_dataset_id(name)
    except (ValueError, TypeError):
        raise ValueError(
            f"{name!r} is neither a folder nor the id of a Minari dataset such as pointmaze-umaze-v0 "
            "or D4RL/pointmaze/large-v2"
        ) from None
    if namespace is None:
        own, folder = _own(plain), _root() / name
        raise ValueError(
            f"there is no {name} in {_root()}; "
            + (
                f"record it: {own[0]}"
                if own
                else f"copy its folder to {folder}, or give it with its namespace, D4RL/..."
            )
        )
    return _download(name)


def _own(name: str) -> tuple[str, str] | None:
    """The command that records what comes nearest to a dataset's id, and the id under which it will be found.

    None for an id of another world: a recording of ours would be no substitute.
    """
    robot = re.search(r"hopper|halfcheetah|walker2d", name)
    if robot:
        kind = re.search(r"random|medium-replay|medium-expert|medium|expert", name)
        said = kind.group() if kind else "medium"
        return f"diffrl-lab record {robot.group()} --kind {said}", f"{robot.group()}-{said}-v0"
    game = re.search(r"breakout|hunt", name)
    if game:
        return f"diffrl-lab record {game.group()}", f"{game.group()}-v0"
    if posts := re.fullmatch(r"(avoid(?:-paid)?)(?:-way-(\d+))?-v0", name):
        return f"diffrl-lab record {posts[1]}" + (f" --way {posts[2]}" if posts[2] else ""), name
    maze = re.search(r"pointmaze.*?(umaze|medium|large|two-ways)", name)
    return (f"diffrl-lab record pointmaze-{maze[1]}", f"pointmaze-{maze[1]}-v0") if maze else None


def _download(name: str) -> Path:
    import minari

    try:
        minari.download_dataset(name)
    except ImportError as error:
        raise ValueError(f'downloading {name} needs Minari\'s client: pip install "minari[hf]" ({error})') from error
    except Exception as error:  # its clients raise whatever their own libraries raise
        own = _own(name)
        raise ValueError(
            f"{name} could not be downloaded ({type(error).__name__}: {error}). Without a network, "
            + (f"record your own: `{own[0]}`, then read {own[1]}; or " if own else "")
            + f"copy the dataset's folder to {_root() / name}"
        ) from error
    folder = _root() / name / "data"
    if not (folder / "metadata.json").is_file():
        raise ValueError(f"{name} was downloaded, but {folder} holds no dataset; delete it and try again")
    return folder


def _storage(folder: Path):
    from minari.dataset.minari_storage import MinariStorage

    try:
        storage = MinariStorage.read(folder)
        if not isinstance(storage.metadata["total_episodes"], int):
            raise KeyError("total_episodes")
        return storage
    except ImportError:
        raise
    except (OSError, KeyError, AssertionError, ValueError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(_damaged(folder, error)) from error


def _damaged(folder: Path, error: Exception) -> str:
    return (
        f"{folder} cannot be read as a Minari dataset: it is damaged, cut short, or was written by something else "
        f"({type(error).__name__}: {error}). Record or download it again"
    )


def _check_spaces(storage, obs_keys: Sequence[str] | None, folder: Path) -> None:
    from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

    numbers = Box, Discrete, MultiDiscrete, MultiBinary
    observations, actions = storage.observation_space, storage.action_space
    if not isinstance(actions, numbers):
        raise ValueError(
            f"{folder}: actions must be a Box, Discrete, MultiDiscrete or MultiBinary, got {actions}; "
            "store them flat (gymnasium.spaces.flatten) in one of these"
        )
    if isinstance(obs_keys, str):
        raise ValueError(f"obs_keys must be a sequence of names such as ({obs_keys!r},), got the string {obs_keys!r}")
    if isinstance(observations, Dict):
        keys = list(observations.spaces)
        if obs_keys is None and "observation" not in keys:
            raise ValueError(f"{folder}: say with obs_keys which of the observations {keys} become obs")
        wrong = [k for k in (obs_keys or ("observation",)) if not isinstance(observations.spaces.get(k), numbers)]
        if wrong or (obs_keys is not None and not obs_keys):
            raise ValueError(
                f"{folder}: obs_keys must name Box observations out of {keys}, got {list(obs_keys or wrong)}"
            )
    elif not isinstance(observations, numbers):
        raise ValueError(
            f"{folder}: observations must be a Box, a Discrete one or a Dict of them, got {observations}; "
            "store them flat (gymnasium.spaces.flatten) in one of these"
        )
    elif obs_keys is not None:
        raise ValueError(f"{folder}: obs_keys choose among the entries of a Dict, but observations are {observations}")


def _joined(observations: Any, space: Any, obs_keys: Iterable[str] | None) -> np.ndarray:
    """[L + 1, d] float32; a single Box keeps its shape, and its bytes if it is an image."""
    if not isinstance(observations, dict):
        values = _numbers(observations, space)
        return values if values.dtype == np.uint8 and values.ndim > 2 else values.astype(np.float32)
    parts = [_numbers(observations[k], space[k]) for k in (obs_keys or ("observation",))]
    if len(parts) == 1 and parts[0].dtype == np.uint8 and parts[0].ndim > 2:
        return parts[0]
    return np.concatenate([v.reshape(len(v), -1) for v in parts], 1).astype(np.float32)


def _numbers(values: Any, space: Any) -> np.ndarray:
    """Values [L] or [L, ...] of a space as numbers [L, d] or [L, ...]: what counts choices becomes one-hot."""
    from gymnasium.spaces import Discrete, MultiDiscrete

    values = np.asarray(values)
    values = values if values.ndim > 1 else values[:, None]
    if not isinstance(space, (Discrete, MultiDiscrete)):
        return values
    sizes = np.ravel(space.n if isinstance(space, Discrete) else space.nvec)
    choices = (values - space.start).reshape(len(values), -1).astype(int)
    return np.concatenate([np.arange(n) == choices[:, [i]] for i, n in enumerate(sizes)], 1).astype(np.float32)
