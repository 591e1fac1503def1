"""Locomotion: recordings are repeated byte for byte and replayed to float32's precision; falls are told from limits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import minari
import numpy as np
import pytest
import torch
from minari.data_collector import EpisodeBuffer
from safetensors.torch import save_file
from torch.testing import assert_close
from typer.testing import CliRunner

from diffrl_lab.cli import app
from diffrl_lab.data import TERMINAL, TIME_LIMIT
from diffrl_lab.data import minari as recordings
from diffrl_lab.data.shipped import manifest, shipped
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.driving import Episode, Uniform
from diffrl_lab.worlds.driving import drive as drive_all
from diffrl_lab.worlds.robots import ENVIRONMENTS, Behaviour, Policy, make, record, replay, with_state

pytestmark = pytest.mark.filterwarnings("ignore:.*is set to None")


def uniform(env, seed: int, limit: int | None = None) -> Episode:
    """An episode of uniform actions, with the simulator's states."""
    agent = Uniform(env.action_space.shape[0])
    return drive_all([with_state(env)], agent, [seed], until=lambda e: e.steps == limit)[0]


SIZES = {"hopper": (11, 3), "halfcheetah": (17, 6), "walker2d": (17, 6)}  # observation, action


def some_weights(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    d, a = SIZES[name]
    g = torch.Generator().manual_seed(seed)
    shapes = {
        "weight0": (16, d),
        "bias0": (16,),
        "weight1": (16, 16),
        "bias1": (16,),
        "weight2": (a, 16),
        "bias2": (a,),
    }
    tensors = {k: 0.3 * torch.randn(s, generator=g) for k, s in shapes.items()}
    return {**tensors, "mean": torch.zeros(d), "std": torch.full((d,), 2.0), "log_std": torch.full((a,), -1.0)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Ladders of four untrained networks each."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ENVIRONMENTS:
        rungs = [0, 100, 200, 900]
        about = {
            "env": ENVIRONMENTS[name],
            "algorithm": "PPO",
            "seed": 0,
            "rungs": rungs,
            "medium": 200,
            "expert": 900,
            "episodes": 5,
            "measured": {"random": {"mean": 10.0}, "expert": {"mean": 210.0}},
        }
        save_file(
            {f"{r}/{k}": v for r in rungs for k, v in some_weights(name, seed=r).items()},
            folder / f"{name}.safetensors",
            {"ladder": json.dumps(about)},
        )
    return {name: folder / f"{name}.safetensors" for name in ENVIRONMENTS}


@pytest.fixture(scope="module")
def hopper(weights, tmp_path_factory) -> Path:
    return record(
        "hopper", "medium-replay", 500, 3, tmp_path_factory.mktemp("root"), weights=weights["hopper"], progress=False
    )


def test_a_policy_is_the_network_that_numpy_computes():
    t = some_weights("hopper")
    t |= {"weight2": t["weight2"] / 9}
    obs = np.linspace(-30, 30, 11).astype(np.float32)
    h = np.clip((obs - t["mean"].numpy()) / t["std"].numpy(), -10, 10)
    h = np.maximum(t["weight0"].numpy() @ h + t["bias0"].numpy(), 0)
    h = np.maximum(t["weight1"].numpy() @ h + t["bias1"].numpy(), 0)
    mean = t["weight2"].numpy() @ h + t["bias2"].numpy()
    assert 0.1 < np.abs(mean).max() < 1
    assert_close(Policy.of(t).act(obs), mean, atol=1e-5, rtol=0)
    assert_close(Policy.of(t | {"bias2": t["bias2"] + 3}).act(obs), np.ones(3, np.float32))


def test_drawn_actions_have_the_policys_mean_and_deviation():
    t = some_weights("hopper")
    t |= {
        "weight2": 0 * t["weight2"],
        "bias2": torch.tensor([0.1, -0.2, 0.0]),
        "log_std": torch.log(torch.tensor([0.1, 0.2, 0.05])),
    }
    g, n = torch.Generator().manual_seed(0), 4000
    drawn = np.stack([Policy.of(t).act(np.zeros(11), g) for _ in range(n)])
    std = np.array([0.1, 0.2, 0.05])
    assert (np.abs(drawn.mean(0) - [0.1, -0.2, 0]) < 4 * std / np.sqrt(n)).all()  # four standard errors
    assert (np.abs(drawn.std(0) - std) < 4 * std / np.sqrt(2 * n)).all()


@pytest.mark.parametrize(
    "kind, rungs",
    [
        ("medium", {200}),
        ("expert", {900}),
        ("medium-expert", {200, 900}),
        ("medium-replay", {0, 100, 200}),
        ("random", {-1}),
    ],
)
def test_each_kind_is_driven_by_its_rungs_for_equal_numbers_of_steps(kind, rungs, weights, tmp_path):
    folder = record("hopper", kind, 600, 1, tmp_path, weights=weights["hopper"], progress=False)
    told, lengths = recordings.about(folder), recordings.read(folder).lengths.numpy()
    of = np.array([e["rung"] for e in told["episodes"]])
    steps = {int(r): int(lengths[of == r].sum()) for r in set(of)}
    assert set(steps) == rungs and sum(steps.values()) == 600
    assert told["steps_of_rung"] == {str(r): n for r, n in steps.items()}
    assert max(steps.values()) - min(steps.values()) <= lengths.max()  # one episode at most


def test_two_recordings_with_one_seed_are_equal_byte_by_byte_and_driven_on_one_thread(
    hopper, weights, tmp_path, monkeypatch
):
    threads, seen = torch.get_num_threads(), set()

    def watched(*args, **options):
        seen.add(torch.get_num_threads())
        return drive_all(*args, **options)

    monkeypatch.setattr(locomotion, "drive", watched)
    torch.set_num_threads(2)
    try:
        again = record("hopper", "medium-replay", 500, 3, tmp_path, weights=weights["hopper"], progress=False)
        assert seen == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    other = record("hopper", "medium-replay", 500, 4, tmp_path / "other", weights=weights["hopper"], progress=False)
    for file in ("main_data.hdf5", "metadata.json"):
        assert (hopper / "data" / file).read_bytes() == (again / "data" / file).read_bytes()
    assert not torch.equal(recordings.read(hopper).obs[:20], recordings.read(other).obs[:20])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_replaying_the_recorded_actions_from_the_recorded_states_gives_the_next_states(name, weights, tmp_path):
    folder = record(name, "medium", 400, 0, tmp_path, weights=weights[name], progress=False)
    episodes, kept = recordings.read(folder), recordings.infos(folder, ("qpos", "qvel"))
    now = (episodes.last == 0).nonzero()[:, 0].numpy()
    env = make(name)
    led = replay(env, kept["qpos"][now], kept["qvel"][now], episodes.act[now][:, None])
    # the recorded states are rounded to float32, 6e-8 of their size, and contacts enlarge that
    for got, wanted in (
        (led.qpos, kept["qpos"][now + 1]),
        (led.qvel, kept["qvel"][now + 1]),
        (led.obs, episodes.obs[now + 1].numpy()),
    ):
        off = np.abs(got[:, 0] - wanted)
        assert np.median(off) < 1e-6 and off.max() < 1e-3
    assert np.abs(led.rew[:, 0] - episodes.rew[now].numpy()).max() < 1e-4
    # what a wrong action leads to is far outside of that floor
    wrong = replay(env, kept["qpos"][now], kept["qvel"][now], -episodes.act[now][:, None])
    assert np.median(np.abs(wrong.qvel[:, 0] - kept["qvel"][now + 1]).max(1)) > 0.1
    env.close()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_in_float64_the_replay_is_exact_and_does_not_depend_on_what_was_replayed_before(name):
    env = make(name)
    run = uniform(env, 0, 100)
    led = replay(env, run.infos["qpos"][:-1], run.infos["qvel"][:-1], run.act[:, None])
    assert np.abs(led.obs[:, 0] - run.obs[1:]).max() < 1e-9
    back = replay(env, run.infos["qpos"][-2::-1], run.infos["qvel"][-2::-1], run.act[::-1, None])
    assert np.array_equal(back.qvel[::-1], led.qvel)
    env.close()


def test_a_window_replayed_open_loop_follows_the_episode():
    env = make("hopper")
    run = uniform(env, 1, 10)
    led = replay(env, run.infos["qpos"][:1], run.infos["qvel"][:1], run.act[None])
    assert led.obs.shape == (1, len(run.act), 11)
    assert np.abs(led.qpos[0] - run.infos["qpos"][1:]).max() < 1e-9 and np.abs(led.rew[0] - run.rew).max() < 1e-9
    env.close()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_state_of_an_observation_is_the_state_but_for_x_and_leads_to_the_same_observation(name):
    env = make(name)
    run = uniform(env, 0, 20)
    whole = (np.abs(run.infos["qvel"][:-1]) < 10).all(1) | (name == "halfcheetah")  # the observation clipped nothing
    qpos, qvel = locomotion.state(env, run.obs[:-1][whole])
    assert np.array_equal(qpos[:, 1:], run.infos["qpos"][:-1][whole, 1:])
    assert np.array_equal(qvel, run.infos["qvel"][:-1][whole])
    assert (qpos[:, 0] == 0).all() and len(qpos) > 1
    led = replay(env, qpos, qvel, run.act[whole, None])
    assert np.abs(led.obs[:, 0] - run.obs[1:][whole]).max() < 1e-9
    env.close()


def test_a_hopper_that_fell_ends_terminal_and_a_cheetahs_episode_by_its_limit_of_1000_steps(hopper, weights, tmp_path):
    episodes = recordings.read(hopper)
    ends = episodes.last[episodes.ends]
    assert (ends[:-1] == TERMINAL).all() and len(ends) > 4
    env = make("hopper")
    healthy = []
    for row in recordings.infos(hopper, ("qpos",))["qpos"]:
        env.unwrapped.data.qpos[:] = row
        healthy.append(env.unwrapped.is_healthy)
    inside = episodes.last == 0
    assert np.array(healthy)[inside.numpy()].all()
    assert not np.array(healthy)[(episodes.last == TERMINAL).numpy()].any()
    env.close()
    cheetah = recordings.read(
        record("halfcheetah", "random", 1500, 0, tmp_path, weights=weights["halfcheetah"], progress=False)
    )
    assert cheetah.lengths.tolist() == [1000, 500] and (cheetah.last[cheetah.ends] == TIME_LIMIT).all()


def test_the_recorded_infos_are_row_for_row_the_state_behind_the_observations(hopper):
    episodes, kept = recordings.read(hopper), recordings.infos(hopper, ("qpos", "qvel"))
    assert torch.equal(episodes.obs[:, :5], torch.tensor(kept["qpos"][:, 1:]))
    assert torch.equal(episodes.obs[:, 5:], torch.tensor(kept["qvel"]).clamp(-10, 10))
    part = recordings.infos(hopper, ("qpos",), split="train")["qpos"]
    assert len(part) == len(recordings.read(hopper, split="train").obs)


def test_minari_itself_opens_a_recording_with_its_infos_and_scores_it(hopper):
    dataset = minari.MinariDataset(hopper / "data")
    assert dataset.total_steps == 500
    assert dataset[0].terminations[-1] and not dataset[0].truncations.any()
    assert_close(torch.tensor(dataset[1].infos["qvel"][:, 0].clip(-10, 10)), recordings.read(hopper)[1].obs[:, 5])
    assert_close(float(minari.get_normalized_score(dataset, np.array(110.0))), 0.5)
    assert dataset.env_spec.id == "Hopper-v5"


@pytest.mark.parametrize("remote", ["mujoco/hopper/medium-v0", "D4RL/hopper/medium-v2"])
def test_a_remote_dataset_of_a_robot_is_opened_by_the_same_reader(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = make("hopper")
    run = uniform(env, 0)
    steps = len(run.act)

    def stand_in(dataset_id, **_):  # as Minari's own collector stores Hopper: float64, infos of every row
        buffer = EpisodeBuffer(
            id=0,
            seed=0,
            observations=run.obs,
            actions=run.act,
            rewards=run.rew,
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, bool),
            infos={"x_position": run.infos["qpos"][:, 0]},
        )
        minari.create_dataset_from_buffers(dataset_id, [buffer], env=env)

    monkeypatch.setattr(minari, "download_dataset", stand_in)
    episodes = recordings.read(remote)
    assert_close(episodes.obs, torch.tensor(run.obs).float())
    assert episodes.last[-1] == TERMINAL
    assert np.array_equal(recordings.infos(remote, ("x_position",))["x_position"], run.infos["qpos"][:, 0])
    with pytest.raises(ValueError, match=r"no info 'qpos'.*it has \['x_position'\]"):
        recordings.infos(remote, ("qpos",))
    env.close()


def test_without_a_network_the_error_names_the_recording_that_comes_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def fails(dataset_id, **_):
        raise ConnectionError("no route")

    monkeypatch.setattr(minari, "download_dataset", fails)
    with pytest.raises(ValueError, match="`diffrl-lab record hopper --kind expert`, then read hopper-expert-v0"):
        recordings.read("mujoco/hopper/expert-v0")
    with pytest.raises(ValueError, match="record it: diffrl-lab record walker2d --kind medium-replay"):
        recordings.read("walker2d-medium-replay-v0")


def test_what_cannot_be_made_recorded_or_replayed_is_refused(hopper, weights, tmp_path, monkeypatch):
    env, d = make("hopper"), np.zeros
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    for call, message in [
        (lambda: make("ant"), "one of hopper, halfcheetah, walker2d; got 'ant'"),
        (lambda: record("hopper", "good"), "one of random, medium, .*, expert; got 'good'"),
        (lambda: record("hopper", "medium", steps=0), "at least 1 .* got 0 and 0"),
        (lambda: record("hopper", "medium", 10, out=tmp_path, weights=other), "does not hold policies that"),
        (lambda: record("hopper", "medium", 10, out=tmp_path, weights=tmp_path / "no"), "does not hold policies that"),
        (lambda: record("hopper", "medium", 10, out=tmp_path, weights=weights["walker2d"]), "for Walker2d-v5"),
        (lambda: record("hopper", "medium-replay", 10, out=hopper.parent, weights=weights["hopper"]), "exists already"),
        (lambda: replay(env, d((4, 6)), d((4, 6)), d((4, 3))), r"actions \[N, H, 3\] .* and \[4, 3\]"),
        (lambda: replay(env, d((4, 5)), d((4, 6)), d((4, 1, 3))), r"qpos \[N, 6\]"),
        (lambda: locomotion.state(env, d((4, 12))), r"11 numbers were wanted, got \[4, 12\]"),
        (lambda: recordings.infos(hopper, "qpos"), r"such as \('qpos',\), got the string 'qpos'"),
        (lambda: recordings.infos(hopper, ("qacc",)), r"no info 'qacc' .* it has \['qpos', 'qvel'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    env.close()
    monkeypatch.setattr("diffrl_lab.data.shipped.manifest", lambda: [])
    with pytest.raises(ValueError, match="no policies for walker2d ship; train some: `diffrl-lab behaviour walker2d`"):
        record("walker2d", "medium", 10, out=tmp_path)


def test_the_command_records_and_says_what_is_missing(weights, tmp_path):
    def call(*words):
        return CliRunner().invoke(app, ["record", *words, "--steps", "30", "--out", str(tmp_path)])

    mine = ("--weights", str(weights["hopper"]))
    assert call("hopper", "--kind", "expert", "--seed", "2", *mine).exit_code == 0
    told = recordings.about(tmp_path / "hopper-expert-v0")
    assert told["recorded_with"].startswith("diffrl-lab record hopper --kind expert --steps 30 --seed 2")
    assert (told["ref_min_score"], told["ref_max_score"]) == (10.0, 210.0)
    for words, message in [
        (("hopper", *mine), "say what drives hopper: --kind random"),
        (("pointmaze-umaze", "--kind", "medium"), "are for hopper, halfcheetah, walker2d"),
    ]:
        refused = call(*words)
        assert refused.exit_code == 2 and message in refused.output


@pytest.mark.parametrize("name", ["hopper", "halfcheetah"])
def test_the_shipped_medium_policy_scores_30_to_50_and_the_expert_at_least_80_and_both_do_so_again(name):
    held, env = locomotion.ladder(name), make(name)
    low, high = held.references
    for rung, who, least, most in (
        (held.about["medium"], "medium, actions drawn", 30, 50),
        (held.about["expert"], "expert, actions drawn", 80, 120),
    ):
        told = held.about["measured"][who]
        assert least <= 100 * (told["mean"] - low) / (high - low) <= most
        again = np.array([e.total for e in drive_all([env], Behaviour(held.policies[rung]), range(500, 510))])
        error = np.hypot((told["high"] - told["low"]) / 3.92, again.std(ddof=1) / np.sqrt(10))
        assert abs(again.mean() - told["mean"]) < 5 * error  # standard errors of the difference
    assert_close(locomotion.normalised_score(name, [low, high]), np.array([0.0, 100.0]))
    env.close()


@pytest.mark.parametrize(
    "recording",
    [
        e["file"].removesuffix("/data/metadata.json")
        for e in manifest()
        if re.search(r"(hopper|halfcheetah).*metadata", e["file"])
    ],
)
def test_a_shipped_recording_replays_to_its_own_next_states(recording):
    folder = shipped(recording)
    episodes, kept = recordings.read(folder), recordings.infos(folder, ("qpos", "qvel"))
    now = (episodes.last == 0).nonzero()[::50, 0].numpy()
    env = make(folder.name.split("-")[0])
    led = replay(env, kept["qpos"][now], kept["qvel"][now], episodes.act[now][:, None])
    off = np.abs(led.obs[:, 0] - episodes.obs[now + 1].numpy()).max(1)
    assert np.median(off) < 1e-5 and np.quantile(off, 0.99) < 1e-2
    env.close()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_limbs_are_rigid_and_a_robot_that_is_lifted_is_the_same_higher_up(name):
    env = make(name)
    obs = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 5, env.observation_space.shape[0]))
    line = locomotion.poses(env, obs)
    lengths = np.linalg.norm(np.diff(line, axis=-2), axis=-1)
    assert_close(lengths, np.broadcast_to(lengths[0, 0], lengths.shape))
    assert (lengths[0, 0] > 0.1).sum() >= 2 * 4 - 2, "each limb there and back"
    higher = obs.copy()
    higher[..., 0] += 0.3
    assert_close(locomotion.poses(env, higher), line + [0.0, 0.3])


def test_one_turned_knee_moves_what_hangs_on_it_and_nothing_else():
    env, obs = make("hopper"), np.zeros((2, 11))
    obs[1, 4] = 0.5  # the foot's joint: z, torso, thigh, leg, foot
    still, turned = locomotion.poses(env, obs)
    moved = np.linalg.norm(turned - still, axis=-1) > 1e-9
    foot = 2 * env.unwrapped.model.geom("foot_geom").size[1]
    assert moved.sum() == 3, "out to the toe and back to the heel; the line's other points stand on the ankle or above"
    assert np.linalg.norm(turned - still, axis=-1).max() <= 0.5 * foot + 1e-9, "no arc is longer than angle times foot"


def test_a_pose_of_too_few_numbers_is_refused():
    with pytest.raises(ValueError, match=re.escape("observations of 11 numbers were wanted, got [2, 5]")):
        locomotion.poses(make("hopper"), np.zeros((2, 5)))
