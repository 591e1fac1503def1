"""OGBench's files: what is read from them, what is not, and how positions become states; its package is not needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab.data import TIME_LIMIT
from diffrl_lab.data.episodes import check_velocities
from diffrl_lab.data.ogbench import moving, pieces, read, save, velocity


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two trajectories of 3 and 2 steps, as OGBench lays them out."""
    path = tmp_path / "pointmaze-medium-stitch-v0.npz"
    obs = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [8, 4], [8, 5], [8, 6]], float)
    np.savez(path, observations=obs, actions=np.arange(14).reshape(7, 2), terminals=[0, 0, 0, 1, 0, 0, 1])
    return path


def test_a_trajectory_of_n_rows_is_an_episode_of_n_minus_1_steps_and_its_last_action_leads_nowhere(file: Path) -> None:
    episodes = read(file)
    assert episodes.lengths.tolist() == [3, 2] and episodes.obs.dtype == torch.float32
    assert episodes.obs[episodes.starts].tolist() == [[0, 0], [8, 4]]
    assert episodes.act[:4].tolist() == [[0, 1], [2, 3], [4, 5], [0, 0]]
    assert episodes.last[episodes.ends].tolist() == [TIME_LIMIT] * 2 and not episodes.rew.any()


def test_what_was_read_and_saved_is_read_again_alike(file: Path, tmp_path: Path) -> None:
    episodes = read(file)
    again = read(save(tmp_path / "copy.npz", episodes))
    for name in ("obs", "act", "rew", "last"):
        assert torch.equal(getattr(again, name), getattr(episodes, name))


def test_rows_behind_the_last_end_are_an_episode_and_a_single_row_is_none(tmp_path: Path) -> None:
    obs = np.arange(12.0).reshape(6, 2)
    np.savez(tmp_path / "cut.npz", observations=obs, actions=obs, terminals=[0, 1, 1, 0, 0, 0])
    episodes = read(tmp_path / "cut.npz")
    assert episodes.lengths.tolist() == [1, 2] and episodes.obs[2].tolist() == [6, 7]


def test_a_file_that_is_missing_damaged_or_something_else_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file .*its package downloads"):
        read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", observations=np.zeros((3, 2)))
    for name in ("text", "other"):
        with pytest.raises(ValueError, match="cannot be read as an OGBench recording with observations"):
            read(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "short.npz", observations=np.zeros((3, 2)), actions=np.zeros((2, 2)), terminals=np.zeros(3))
    with pytest.raises(ValueError, match=r"were wanted; got observations \[3, 2\], actions \[2, 2\]"):
        read(tmp_path / "short.npz")


def test_velocities_of_an_even_motion_are_its_speed_whatever_they_are_taken_over() -> None:
    path = np.arange(9.0)[:, None] * [0.1, -0.2]
    for over in (1, 2, 6):
        assert velocity(path, over, 0.1)[1:] == pytest.approx(np.tile([1.0, -2.0], (8, 1)))
    assert velocity(path, 6, 0.1)[0].tolist() == [0, 0]


def test_longer_velocities_average_the_noise_of_steps_out() -> None:
    steps = 0.2 + 0.1 * np.random.default_rng(0).standard_normal((400, 1))
    path = np.r_[[[0.0]], steps.cumsum(0)]
    spread = [velocity(path, over, 0.1)[20:-20].std() for over in (1, 10)]
    assert spread[1] == pytest.approx(spread[0] / np.sqrt(10), rel=0.3)


def test_positions_become_states_in_units_and_what_stands_still_is_cut_off(tmp_path: Path) -> None:
    x = np.r_[np.linspace(0, 8, 21), 8 + 0.1 * np.tile([1, -1], 10)]
    obs = np.stack([x, np.zeros(41)], 1)
    np.savez(tmp_path / "a.npz", observations=obs, actions=np.zeros((41, 2)), terminals=np.arange(41) == 40)
    whole = moving(read(tmp_path / "a.npz"), unit=4.0, over=10, seconds=0.1)
    cut = moving(read(tmp_path / "a.npz"), unit=4.0, over=10, seconds=0.1, stands=0.3)
    assert whole.lengths.tolist() == [40] and cut.lengths.tolist() == [17]
    assert cut.obs[-1, 0] == pytest.approx(1.7) and cut.obs[8, 2] == pytest.approx(1.0)
    check_velocities(cut)


def test_pieces_hold_every_step_once(file: Path) -> None:
    cut = pieces(read(file), 2)
    assert cut.lengths.tolist() == [2, 2]  # the rest of one step is left out
    assert cut.obs[:3, 0].tolist() == [0, 1, 2] and cut.obs[3:, 1].tolist() == [4, 5, 6]
