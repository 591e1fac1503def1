"""Demonstrations of PushT: tiny files of the published layout, read; and what is said without the extra."""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffrl_lab.data import pusht
from diffrl_lab.data.episodes import TIME_LIMIT
from diffrl_lab.methods.policies import diffusion_policy
from diffrl_lab.worlds import pusht as world

ENDS = np.array([7, 12, 22])


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """States and actions of three demonstrations of 7, 5 and 10 states, end to end."""
    rng = np.random.default_rng(0)
    state, action = rng.uniform(0, 512, (22, 5)), rng.uniform(0, 512, (22, 2))
    action[:2] = [[0, 512], [256, 128]]
    return state.astype("<f4"), action.astype("<f4")


def written(folder: Path, codec: dict | None = None, pack=lambda raw: raw, **changes: np.ndarray) -> Path:
    """A zarr of the second format below `folder`, in chunks of eight rows, the last one filled up."""
    state, action = numbers()
    for name, array in ({"data/state": state, "data/action": action, "meta/episode_ends": ENDS} | changes).items():
        (folder / name).mkdir(parents=True)
        chunks = (8, *array.shape[1:])
        about = {"shape": array.shape, "chunks": chunks, "dtype": array.dtype.str, "fill_value": 0, "order": "C"}
        about |= {"compressor": codec, "filters": None, "zarr_format": 2}
        (folder / name / ".zarray").write_text(json.dumps(about))
        for i in range(-(-len(array) // 8)):
            chunk = np.zeros(chunks, array.dtype)
            rows = array[8 * i : 8 * i + 8]
            chunk[: len(rows)] = rows
            (folder / name / ".".join(map(str, (i,) + (0,) * (array.ndim - 1)))).write_bytes(pack(chunk.tobytes()))
    return folder


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_demonstrations_become_episodes_whose_last_state_has_no_action(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "demonstrations" / "pusht.zarr", {"id": "zlib", "level": 1}, zlib.compress)
    if kind == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "pusht"), "zip", tmp_path / "demonstrations"))
    episodes, (state, action) = pusht.read(path), numbers()
    assert episodes.lengths.tolist() == [6, 4, 9] and (episodes.last[episodes.ends] == TIME_LIMIT).all()
    np.testing.assert_array_equal(episodes.obs.numpy(), state)
    done = np.delete(action, ENDS - 1, 0)
    np.testing.assert_allclose(episodes.act[episodes.last == 0].numpy(), done / 256 - 1, atol=1e-6)
    assert episodes.act[:2].tolist() == [[-1, 1], [0, -0.5]] and not episodes.rew.any()


def test_a_policy_trains_on_them(tmp_path: Path) -> None:
    episodes = pusht.read(written(tmp_path / "pusht.zarr"))
    run = diffusion_policy.train(episodes, diffusion_policy.Config(chunk=4, execute=2, width=16, updates=3), seed=0)
    for _ in run:
        pass
    agent = diffusion_policy.Agent(run.model)
    agent.reset(episodes.obs[:2].numpy(), [0, 1])
    actions = agent.act(episodes.obs[:2].numpy())
    assert actions.shape == (2, 2) and np.abs(actions).max() <= 1


def test_a_chunk_that_is_not_stored_holds_the_fill_value(tmp_path: Path) -> None:
    folder = written(tmp_path / "pusht.zarr")
    (folder / "data" / "state" / "1.0").unlink()
    state = numbers()[0]
    state[8:16] = 0
    np.testing.assert_array_equal(pusht.read(folder).obs.numpy(), state)


def test_packed_chunks_need_the_extra_and_are_unpacked_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "pusht.zarr", {"id": "blosc", "cname": "zstd"}, lambda raw: raw[::-1])
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    with pytest.raises(ValueError, match=r'packed with blosc.*pip install "diffrl-lab\[pusht\]"'):
        pusht.read(folder)
    asked = []

    def codec(about: dict) -> SimpleNamespace:
        asked.append(about)
        return SimpleNamespace(decode=lambda packed: packed[::-1])

    monkeypatch.setitem(sys.modules, "numcodecs", SimpleNamespace(get_codec=codec))
    np.testing.assert_array_equal(pusht.read(folder).obs.numpy(), numbers()[0])
    assert asked[0] == {"id": "blosc", "cname": "zstd"}


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no"):
        pusht.read(tmp_path / "none")
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        pusht.read(tmp_path / "text")
    with pytest.raises(ValueError, match="no array data/state"):
        pusht.read(tmp_path)
    state, _ = numbers()
    with pytest.raises(ValueError, match=r"actions \[N, 2\] and ends \[E\] were wanted, got \[22, 5\], \[22, 3\]"):
        pusht.read(written(tmp_path / "wide", **{"data/action": state[:, :3].copy()}))
    for number, ends in enumerate(([7, 12], [7, 8, 22], [12, 7, 22])):
        with pytest.raises(ValueError, match="ends must rise by 2 states or more, up to their number 22"):
            pusht.read(written(tmp_path / f"ends-{number}", **{"meta/episode_ends": np.array(ends)}))
    folder = written(tmp_path / "third")
    about = json.loads((folder / "data/action/.zarray").read_text())
    (folder / "data/action/.zarray").write_text(json.dumps(about | {"zarr_format": 3}))
    with pytest.raises(ValueError, match="zarr's format 3"):
        pusht.read(folder)


def test_the_task_says_what_to_install_and_shows_its_state_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    with pytest.raises(ValueError, match=r'PushT is not installed; .*pip install "diffrl-lab\[pusht\]"'):
        world.make()
    asked = {}
    monkeypatch.setitem(sys.modules, "gym_pusht", SimpleNamespace())
    monkeypatch.setattr("gymnasium.make", lambda name, **options: asked.update(options, name=name))
    world.make(render_mode="rgb_array")
    assert asked == {"name": "gym_pusht/PushT-v0", "obs_type": "state", "render_mode": "rgb_array"}
