"""Recordings: equal seeds give equal files, replayed actions give the observations, any Minari dataset is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pytest
import torch
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from torch.testing import assert_close
from typer.testing import CliRunner

from diffrl_lab.cli import app
from diffrl_lab.data import TERMINAL, TIME_LIMIT
from diffrl_lab.data import minari as recordings
from diffrl_lab.data.minari import about, read
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.mazes import side as way
from diffrl_lab.worlds.record import SPREAD, record
from diffrl_lab.worlds.walls import REACHED

Box, Dict = gymnasium.spaces.Box, gymnasium.spaces.Dict
pytestmark = pytest.mark.filterwarnings("ignore:.*is set to None", "ignore:env_spec is None")


@pytest.fixture(scope="module")
def umaze(tmp_path_factory) -> Path:
    return record("pointmaze-umaze", 700, seed=5, out=tmp_path_factory.mktemp("root"), progress=False)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def by_hand(dataset_id: str, lengths=(3, 4, 2), observations: str = "dict"):
    """A dataset written with Minari itself: obs k counts rows, episode 1 is terminated, the others cut."""
    box = Box(-np.inf, np.inf, (2,), np.float64)
    space = Dict({"far": Box(-9, 9, (1, 2), np.float32), "near": box}) if observations == "dict" else box
    buffers = []
    for e, L in enumerate(lengths):
        near = np.stack([np.arange(L + 1.0), np.full(L + 1, float(e))], 1)
        obs = {"far": -near.astype(np.float32)[:, None], "near": near} if observations == "dict" else near
        buffers.append(
            EpisodeBuffer(
                id=e,
                observations=obs,
                actions=np.full((L, 1), e + 0.5, np.float32),
                rewards=np.arange(L) * 1.0,
                terminations=(np.arange(L) == L - 1) & (e == 1),
                truncations=(np.arange(L) == L - 1) & (e != 1),
            )
        )
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, observation_space=space, action_space=Box(-1, 1, (1,), np.float32)
    )


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with h5py.File(folder / "data" / "main_data.hdf5") as file:
        found: dict[str, np.ndarray] = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_two_recordings_with_one_seed_are_equal_array_by_array_and_byte_by_byte(umaze, tmp_path):
    # another process, another hash seed, and no jax: Minari's own collector would need it
    code = (
        "import sys; sys.modules['jax'] = None; from diffrl_lab.worlds.record import record; "
        f"record('pointmaze-umaze', 700, 5, {str(tmp_path)!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    again = tmp_path / umaze.name
    one, two = arrays(umaze), arrays(again)
    assert one.keys() == two.keys() and len(one) > 20
    assert all(np.array_equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)
    for file in ("main_data.hdf5", "metadata.json"):
        assert (umaze / "data" / file).read_bytes() == (again / "data" / file).read_bytes()


def test_another_seed_gives_another_recording(umaze, tmp_path):
    other = read(record("pointmaze-umaze", 50, seed=6, out=tmp_path, progress=False))
    assert not torch.equal(other.obs[:20], read(umaze).obs[:20])


def test_a_recording_holds_exactly_its_steps_and_each_task_is_driven_until_the_ball_has_settled_at_the_goal(umaze):
    episodes = read(umaze, ("observation", "desired_goal"))
    assert int(episodes.lengths.sum()) == 700 and (episodes.last[episodes.ends] == TIME_LIMIT).all()
    away = (episodes.obs[:, :2] - episodes.obs[:, 4:]).norm(dim=1)
    assert (away[episodes.ends[:-1]] < 0.45).all() and (away[episodes.starts] > 0.45).float().mean() > 0.9
    steps = episodes.last == 0
    assert_close(episodes.rew[steps], (away.roll(-1)[steps] <= REACHED).float())


def test_replaying_the_recorded_actions_gives_the_recorded_observations(umaze):
    episodes, env = read(umaze), make_maze("umaze", position_noise_range=SPREAD)
    for number, told in list(enumerate(about(umaze)["episodes"]))[:3]:
        obs, _ = env.reset(seed=told["seed"])
        seen, one = [obs["observation"]], episodes[number]
        for action in one.act[:-1].numpy():
            seen.append(env.step(action)[0]["observation"])
        assert_close(torch.tensor(np.array(seen)).float(), one.obs, atol=2e-3, rtol=0)  # actions rounded to float32
    env.close()


def test_two_ways_tells_the_side_of_each_episode_and_p_0_and_1_take_one_only(tmp_path):
    for p, side, sign in ((1.0, "left", -1), (0.0, "right", 1)):
        folder = record("pointmaze-two-ways", 600, seed=1, out=tmp_path, p=p, progress=False)
        told, episodes = about(folder), read(folder)
        assert told["left_probability"] == p == told["left_share"]
        for number, each in enumerate(told["episodes"][:-1]):
            assert each["side"] == side and way(episodes[number].obs[:, :2]) == sign


def test_minari_itself_opens_a_recording_and_scores_it(umaze):
    dataset = minari.MinariDataset(umaze / "data")
    assert dataset.total_steps == 700 and len(dataset) == len(read(umaze))
    assert_close(torch.tensor(dataset[0].observations["observation"]), read(umaze)[0].obs)
    assert_close(float(minari.get_normalized_score(dataset, np.array(161.86))), 1.0)
    assert "pointmaze-umaze-v0" in recordings.about(umaze)["dataset_id"]


def test_a_hand_written_dataset_is_read_exactly_with_the_keys_in_the_order_asked_for(root):
    by_hand("hand/made-v0")
    episodes = read("hand/made-v0", ("near", "far"))
    rows = torch.tensor([[t, e] for e, L in enumerate((3, 4, 2)) for t in range(L + 1)]).float()
    assert_close(episodes.obs, torch.cat([rows, -rows], 1))
    assert_close(read("hand/made-v0", ("far",)).obs, -rows)
    assert episodes.last.tolist() == [0, 0, 0, TIME_LIMIT, 0, 0, 0, 0, TERMINAL, 0, 0, TIME_LIMIT]
    assert_close(episodes.act[:, 0], torch.tensor([0.5, 0.5, 0.5, 0, 1.5, 1.5, 1.5, 1.5, 0, 2.5, 2.5, 0]))
    assert_close(episodes.rew, torch.tensor([0.0, 1, 2, 0, 0, 1, 2, 3, 0, 0, 1, 0]))


def test_a_dataset_is_found_by_id_by_folder_and_by_its_data_folder_and_a_plain_box_is_read(root):
    by_hand("plain-v0", observations="box")
    for where in ("plain-v0", root / "plain-v0", str(root / "plain-v0" / "data")):
        assert_close(read(where).obs[:, 0], torch.tensor([0.0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2]))


def test_train_and_test_share_no_episode_and_miss_none(root):
    by_hand("many-v0", lengths=range(1, 31))
    parts = [read("many-v0", ("near",), split=split).lengths.tolist() for split in ("train", "test")]
    assert parts[1] == [10, 20, 30] and sorted(parts[0] + parts[1]) == list(range(1, 31))


def test_a_remote_dataset_is_fetched_by_minari_once_and_then_read_from_the_disk(root, monkeypatch):
    calls = []

    def stand_in(dataset_id, **_):
        calls.append(dataset_id)
        by_hand(dataset_id)

    monkeypatch.setattr(minari, "download_dataset", stand_in)
    first, second = (read("D4RL/pointmaze/large-v2", ("near",)) for _ in range(2))
    assert calls == ["D4RL/pointmaze/large-v2"] and torch.equal(first.obs, second.obs) and len(first) == 3


@pytest.mark.parametrize(
    "error, message",
    [
        (
            ConnectionError("no route"),
            r"could not be downloaded \(ConnectionError: no route\).*record pointmaze-large`",
        ),
        (ImportError("huggingface_hub"), r'pip install "minari\[hf\]"'),
    ],
)
def test_without_a_network_the_error_says_what_to_do_instead(root, monkeypatch, error, message):
    def fails(dataset_id, **_):
        raise error

    monkeypatch.setattr(minari, "download_dataset", fails)
    with pytest.raises(ValueError, match=message):
        read("D4RL/pointmaze/large-v2")


def _cut(folder: Path) -> None:
    path = folder / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _foreign(folder: Path) -> None:
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        file["observations"] = np.zeros((5, 2))


def _no_rewards(folder: Path) -> None:
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]


def _not_json(folder: Path) -> None:
    (folder / "metadata.json").write_text("{")


def _no_space(folder: Path) -> None:
    told = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({k: v for k, v in told.items() if k != "action_space"}))


def _gone(folder: Path) -> None:
    (folder / "main_data.hdf5").unlink()


@pytest.mark.parametrize("damage", [_cut, _foreign, _no_rewards, _not_json, _no_space, _gone])
def test_a_damaged_or_foreign_file_is_named_as_such(root, damage):
    by_hand("hurt-v0")
    damage(root / "hurt-v0" / "data")
    with pytest.raises(ValueError, match="hurt-v0.*cannot be read as a Minari dataset"):
        read("hurt-v0", ("near",))


def _edit(root: Path, where: str, change) -> None:
    with h5py.File(root / "hand-v0" / "data" / "main_data.hdf5", "a") as file:
        values = file[where][()]
        del file[where]
        file[where] = change(values)


@pytest.mark.parametrize(
    "where, change, message",
    [
        ("episode_0/rewards", lambda v: v * np.nan, "rew must be finite"),
        ("episode_2/observations/near", lambda v: v[:-1], "episode 2: L actions and rewards need L . 1 observations"),
        ("episode_0/actions", lambda v: v[:, :0], "episode 1: observations and actions have the shapes"),
        ("episode_0/terminations", lambda v: ~v, "episode 0 of .* goes on after a termination in step 0"),
    ],
)
def test_a_dataset_with_wrong_contents_is_refused(root, where, change, message):
    by_hand("hand-v0")
    _edit(root, where, change)
    with pytest.raises(ValueError, match=message):
        read("hand-v0", ("near",))


def test_what_cannot_be_read_or_recorded_is_refused_with_what_was_wanted(root, umaze, tmp_path):
    by_hand("hand-v0")
    file = tmp_path / "file.hdf5"
    file.write_text("")
    for call, message in [
        (lambda: read("hand-v0"), r"say with obs_keys which of the observations \['far', 'near'\] become obs"),
        (lambda: read("hand-v0", ("nose",)), r"must name Box observations out of \['far', 'near'\], got \['nose'\]"),
        (lambda: read("hand-v0", "near"), r"such as \('near',\), got the string 'near'"),
        (lambda: read("hand-v0", ("near",), split="half"), 'None, "train" or "test", got \'half\''),
        (lambda: read("pointmaze-large-v0"), "record it: diffrl-lab record pointmaze-large"),
        (lambda: read("what is this"), "neither a folder nor the id of a Minari dataset"),
        (lambda: read(file), "a folder with data/metadata.json was wanted, got a file"),
        (lambda: record("cartpole"), "a recording is one of pointmaze-umaze, .*; got 'cartpole'"),
        (lambda: record("pointmaze-two-ways", p=1.5), r"p in \[0, 1\]; got 200000, 0 and 1.5"),
        (lambda: record("pointmaze-umaze", 10, out=umaze.parent), "exists already; .* overwrite"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_actions_that_are_no_numbers_are_refused(root):
    buffer = EpisodeBuffer(
        id=0,
        observations=np.zeros((3, 2)),
        actions=["a", "b"],
        rewards=np.zeros(2),
        terminations=np.zeros(2, bool),
        truncations=np.array([False, True]),
    )
    minari.create_dataset_from_buffers(
        "steps-v0", [buffer], observation_space=Box(-1, 1, (2,), np.float64), action_space=gymnasium.spaces.Text(4)
    )
    with pytest.raises(ValueError, match=r"actions must be a Box, Discrete, .*, got Text\(.*store them flat"):
        read("steps-v0")


@pytest.mark.parametrize("missing", ["minari", "h5py"])
def test_without_minari_both_directions_say_how_to_install_it(umaze, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    for call in (lambda: read(umaze), lambda: record("pointmaze-umaze", 10, out=tmp_path)):
        with pytest.raises(ImportError, match=r'pip install "minari\[hdf5\]"'):
            call()


def test_an_interrupted_recording_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(recordings, "_pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record("pointmaze-umaze", 20, out=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_may_go_below_a_relative_folder_and_none_of_minaris_own_is_touched(root, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = record("pointmaze-umaze", 20, out="here", progress=False)
    assert folder == tmp_path / "elsewhere/here/pointmaze-umaze-v0" and len(read("here/pointmaze-umaze-v0").rew) > 20
    assert [p.name for p in root.iterdir()] == ["elsewhere"]


def test_the_command_records_refuses_to_overwrite_and_overwrites_when_told(root):
    command = ["record", "pointmaze-two-ways", "--p", "0.2", "--steps", "30", "--seed", "3"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0 and about("pointmaze-two-ways-p20-v0")["left_probability"] == 0.2
    assert about("pointmaze-two-ways-p20-v0")["recorded_with"].endswith("--steps 30 --seed 3 --p 0.2")
    second = CliRunner().invoke(app, command)
    assert second.exit_code == 2 and "exists already" in second.output
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0
    shutil.rmtree(root / "pointmaze-two-ways-p20-v0")


def stored(folder: Path, obs, space, act=None, actions=None, episodes=2, **more) -> Path:
    """`episodes` equal episodes written below `folder` as they are, whatever they are."""
    folder.mkdir()
    storage = MinariStorage.new(folder / "data", space, actions or Box(-1, 1, (1,), np.float32), None)
    storage.update_metadata({"dataset_id": "own-v0"})
    L = len(obs) - 1
    end = np.arange(L) == L - 1
    one = {"actions": np.zeros((L, 1), np.float32) if act is None else act, "rewards": np.zeros(L), "infos": {}}
    one |= {"terminations": np.zeros(L, bool), "truncations": end, "observations": obs} | more
    storage.update_episodes([EpisodeBuffer(id=i, **one) for i in range(episodes)])
    return folder


@pytest.mark.parametrize("flag", ["termination", "truncation"])
def test_an_episode_that_goes_on_after_its_end_is_named_with_its_step(tmp_path, flag):
    folder = stored(tmp_path / "a", np.zeros((6, 2), np.float32), Box(-1, 1, (2,)), **{f"{flag}s": np.arange(5) == 2})
    with pytest.raises(ValueError, match=f"episode 0 of .* goes on after a {flag} in step 2"):
        read(folder)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_nan_is_named_with_episode_and_step_and_the_episode_can_be_left_out(tmp_path, name):
    folder = stored(tmp_path / "a", np.zeros((6, 2), np.float32), Box(-1, 1, (2,)))
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
        file[f"episode_1/{name}"][3] = np.nan
    with pytest.raises(ValueError, match=rf"episode 1: {name[:3]} must be finite, got .* in step 3; leave"):
        read(folder)
    assert len(read(folder, without=[1])) == 1
    with pytest.raises(ValueError, match=r"episodes 0 to 1; got without=\[2\]"):
        read(folder, without=[2])


def test_unequal_lengths_are_named_with_their_episode(tmp_path):
    folder = stored(tmp_path / "a", np.zeros((6, 2), np.float32), Box(-1, 1, (2,)), rewards=np.zeros(4))
    with pytest.raises(ValueError, match="episode 0: L actions and rewards need .* got 5, 4, 6"):
        read(folder)


def test_infos_of_another_length_are_named_with_both_lengths(tmp_path):
    folder = stored(tmp_path / "a", np.zeros((6, 2), np.float32), Box(-1, 1, (2,)), infos={"q": np.zeros((5, 3))})
    with pytest.raises(ValueError, match=r"episode 0 of .* no info 'q' .*6 rows, got 5"):
        recordings.infos(folder, ["q"])


def test_choices_become_one_hot_and_images_stay_bytes(tmp_path):
    spaces = gymnasium.spaces
    image = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3)
    pixels = Box(0, 255, (2, 2, 3), np.uint8)
    e = read(stored(tmp_path / "a", image, pixels, np.array([1, 3]), spaces.Discrete(3, start=1), episodes=1))
    assert torch.equal(e.obs, torch.as_tensor(image)) and e.obs.dtype == torch.uint8
    assert e.act.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    act = np.array([[0, 2], [1, 0]])
    ram = Box(0, 255, (2,), np.uint8)
    e = read(stored(tmp_path / "b", image[:, 0, 0, :2], ram, act, spaces.MultiDiscrete([2, 3]), episodes=1))
    assert e.obs.dtype == torch.float32 and e.act[:2].tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    e = read(stored(tmp_path / "c", np.array([2, 0, 1]), spaces.Discrete(3), episodes=1))
    assert e.obs.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
