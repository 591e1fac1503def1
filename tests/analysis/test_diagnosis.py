"""Whether samples collapsed: what each question sees, that healthy samples are left alone, and what is refused."""

from __future__ import annotations

import importlib
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from diffrl_lab.analysis import diagnose, pooled
from diffrl_lab.analysis.bring import bring
from diffrl_lab.analysis.findings import QUESTIONS, Diagnosis
from diffrl_lab.analysis.modes import Centres, homotopy
from diffrl_lab.cli import app
from diffrl_lab.data.shipped import shipped
from diffrl_lab.worlds.walls import Walls

CENTRES = np.array([[1.5, 1.5], [1.5, -1.5], [-1.5, 1.5], [-1.5, -1.5]])


def four(n: int, seed: int, p=(0.25,) * 4, std: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return CENTRES[rng.choice(4, n, p=p)] + std * rng.standard_normal((n, 2))


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return four(600, 1)


def asked(samples, reference, **options) -> Diagnosis:
    return diagnose(samples, reference, **options)


# ------------------------------------------------------------------------------------------------------------- answers
def test_a_lost_mode_is_named_and_counted(data: np.ndarray) -> None:
    found = asked(four(600, 2, (0.34, 0.33, 0.33, 0)), data, modes=CENTRES)
    lost = found["lost"]
    assert found.verdict == lost.verdict == "collapsed" and found.modes[3]["lost"] and found.modes[3]["samples"] == 0
    assert lost.low < lost.value < lost.high and abs(lost.value - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 600)
    assert found["spread"].verdict == "healthy" and found["left"].verdict == "healthy"


def test_modes_are_found_where_none_are_given_also_among_columns_of_noise(data: np.ndarray) -> None:
    noise = np.random.default_rng(5).standard_normal((1200, 10)) * 0.3
    x, y = np.hstack([four(600, 3), noise[:600]]), np.hstack([data, noise[600:]])
    assert asked(x, y).about["modes"] == 4
    assert asked(noise[:600], noise[600:]).about["modes"] == 1


@pytest.mark.parametrize("n", [256, 1024])
def test_modes_on_a_line_are_found_and_a_single_one_is_not_cut(n: int) -> None:
    rng = np.random.default_rng(0)
    sides = [(6.0 * rng.choice(4, n, p=(0.4, 0.3, 0.2, 0.1)) + rng.standard_normal(n))[:, None] for _ in range(2)]
    assert asked(*sides).about["modes"] == 4
    assert asked(rng.standard_normal((n, 1)), rng.standard_normal((n, 1))).about["modes"] == 1


def test_samples_that_shrink_leave_or_copy_are_told_apart(data: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    narrow = asked(four(600, 4, std=0.2), data, modes=CENTRES)
    assert narrow["spread"].verdict == "collapsed" and abs(narrow["spread"].value - 2 / 3) < 0.1
    assert narrow["lost"].verdict == narrow["memorised"].verdict == "healthy"
    away = four(600, 5)
    away[:60] = rng.uniform(4, 6, (60, 2))
    assert asked(away, data, modes=CENTRES)["left"].verdict == "collapsed"
    copies = data[rng.integers(600, size=600)] + 1e-3 * rng.standard_normal((600, 2))
    found = asked(copies, data, modes=CENTRES)
    assert found["memorised"].verdict == "collapsed" and found["memorised"].value > 0.9
    assert found["spread"].verdict == found["left"].verdict == "healthy"


def test_what_collapses_per_state_and_not_on_average_is_seen_per_state() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((100, 6, 2))
    samples = np.repeat(rng.standard_normal((100, 1, 2)), 6, 1) + 0.05 * rng.standard_normal((100, 6, 2))
    found = asked(samples, reference, states=True, modes=1)
    assert found["state"].verdict == "collapsed" and found["state"].value < 0.8
    rows = asked(
        samples.reshape(-1, 2), reference.reshape(-1, 2), modes=1,
        states=np.repeat(np.arange(100), 6), reference_states=np.repeat(np.arange(100), 6),
    )  # fmt: skip
    assert rows["state"].p == found["state"].p
    healthy = asked(rng.standard_normal((100, 6, 2)), reference, states=True, modes=1)
    assert healthy["state"].verdict != "collapsed"


def test_trajectories_that_jitter_move_in_another_way() -> None:
    rng = np.random.default_rng(0)
    smooth = [np.cumsum(np.cumsum(rng.standard_normal((300, 16, 2)), 1), 1) for _ in range(2)]
    assert asked(smooth[0], smooth[1], modes=1)["motion"].verdict != "collapsed"
    shaken = smooth[0] + 2 * rng.standard_normal(smooth[0].shape)
    assert asked(shaken, smooth[1], modes=1)["motion"].verdict == "collapsed"
    line = np.linspace(0, 1, 9)[None, :, None] * np.ones((1, 1, 2))
    np.testing.assert_allclose(pooled.motion(line)[0, 1], 0, atol=1e-12)
    steps = np.cumsum(rng.standard_normal((4, 5000, 1)), 1)  # steps without memory: jitter 2, no autocorrelation
    np.testing.assert_allclose(pooled.motion(steps), np.tile([0, 2], (4, 1)), atol=5 * 3 / np.sqrt(5000))


def test_healthy_is_said_only_where_a_defect_would_have_been_seen(data: np.ndarray) -> None:
    few = asked(four(40, 6), four(40, 7), modes=CENTRES)
    assert few.verdict == "not seen at this n" and few["weights"].verdict.startswith(
        "not seen at this n (you would need"
    )
    wanted = few["weights"].n_needed
    assert wanted > 40 and few["weights"].smallest > 0.1
    enough = asked(four(2 * wanted, 8), four(2 * wanted, 9), modes=CENTRES)
    assert enough["weights"].verdict == "healthy" and enough["weights"].smallest < few["weights"].smallest / 2


def test_a_p_value_of_equal_laws_is_uniform_and_holm_keeps_the_family() -> None:
    ps = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = np.arange(60) < 30
        mine = pooled.relabelled(truth, np.zeros(60), 99, rng)
        assert (mine.sum(1) == 30).all()
        ps.append(pooled.p_value(pooled.log_ratio(rng.exponential(size=60), mine)))
    assert abs(np.mean(ps) - 0.505) < 4 / np.sqrt(12 * 60)
    assert pooled.p_value([5.0, 1, 2, 3]) == 0.25 and pooled.p_value([1.0, 5, 1, 0]) == 0.75  # itself, and ties
    adjusted = pooled.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_rows_of_one_state_are_relabelled_among_themselves() -> None:
    group = np.array([0, 1, 0, 1, 0, 1, 1, 1])
    truth = np.array([1, 0, 0, 1, 0, 1, 1, 0], bool)
    mine = pooled.relabelled(truth, group, 200, np.random.default_rng(0))
    assert (mine[:, group == 0].sum(1) == 1).all() and (mine[:, group == 1].sum(1) == 3).all()
    assert (mine[1:].mean(0)[group == 0] > 0.2).all()


# --------------------------------------------------------------------------------------------------------------- modes
def test_modes_may_be_centres_labels_a_function_or_ways_around_an_obstacle(data: np.ndarray) -> None:
    x = four(200, 6)
    nearest = lambda rows: np.linalg.norm(rows[:, None] - CENTRES, axis=2).argmin(1)  # noqa: E731
    ball = Centres(torch.as_tensor(CENTRES), torch.full((4,), 2.0))
    found = [asked(x, data, modes=m) for m in (CENTRES, nearest, (nearest(x), nearest(data)), ball)]
    assert len({json.dumps([m["samples"] for m in f.modes]) for f in found}) == 1
    walls = Walls(np.pad(np.pad([[True]], 2, constant_values=False), 1, constant_values=True), 1.0)
    turn = np.linspace(np.pi, 0, 12)

    def plans(n: int, left: float, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        side = np.where(rng.random(n) < left, 1, -1)[:, None]
        way = np.stack([1.6 * np.cos(turn) + 0 * side, 1.6 * side * np.sin(turn)], 2)
        return way + 0.02 * rng.standard_normal((n, 12, 2))

    lost = asked(plans(80, 1.0, 0), plans(80, 0.5, 1), modes=lambda p: homotopy(p, walls))
    assert lost.about["modes"] == 2 and lost["lost"].verdict == "collapsed"


def test_rows_of_no_mode_are_counted_as_having_left(data: np.ndarray) -> None:
    labels = np.zeros(600, int)
    labels[:100] = -1
    found = asked(four(600, 2), data, modes=(labels, np.zeros(600, int)))
    assert found["left"].verdict == "collapsed"
    assert "Yes (rows of no mode)" in found["left"].words


def test_the_first_line_names_the_questions_and_a_found_mode_is_named_by_its_place(data: np.ndarray) -> None:
    found = asked(four(600, 2, (0.34, 0.33, 0.33, 0)), data)
    assert re.match(r"collapsed \(modes lost, weights shifted(, [\w ]+)?\): 600 samples", str(found))
    x, y = map(float, re.findall(r"mode \d about \(([-\d.]+), ([-\d.]+)\)", found["lost"].words)[0])
    assert abs(x + 1.5) < 0.1 and abs(y + 1.5) < 0.1
    assert str(asked(four(600, 2), data)).startswith("healthy: 600 samples")


def test_a_defect_that_is_certain_and_small_is_called_small(data: np.ndarray) -> None:
    many = four(6000, 1)
    small = asked(four(6000, 2, (0.29, 0.25, 0.25, 0.21)), many, modes=CENTRES)["weights"]
    assert small.verdict == "collapsed" and small.value < small.matters
    assert small.words.endswith("; small, 0.1 matters.")
    large = asked(four(6000, 2, (0.4, 0.2, 0.2, 0.2)), many, modes=CENTRES)["weights"]
    assert large.verdict == "collapsed" and "small" not in large.words
    thin = asked(four(6000, 2, std=0.28), many, modes=CENTRES)["spread"]
    assert thin.verdict == "collapsed" and thin.words.endswith("; small, 0.8 matters.")


# ------------------------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    "samples, said",
    [
        ([[1.0, 2.0], [3.0]], r"samples are ragged: row 0 has the shape \(2,\), row 1 has \(1,\)"),
        ([[1.0, float("nan")]] * 9, r"hold nan at \[0, 1\], and 9 of 9 rows are not finite"),
        ([], "samples are empty"),
        (np.zeros((0, 2)), "samples are empty"),
        (np.ones((9, 3)), r"samples \[9, 3\] and reference \[600, 2\] must be rows of one shape"),
        (np.ones((3, 2)), "at least 8 rows a side"),
        (np.array(["a"] * 9), "must hold real numbers"),
        (torch.ones(9, 2, dtype=torch.complex64), "must hold real numbers"),
        (np.ones((1, 1, 1, 1, 1)), "must be"),
        (np.float64(3), "samples are empty"),
    ],
)
def test_what_cannot_be_judged_is_named(samples, said: str, data: np.ndarray) -> None:
    with pytest.raises(ValueError, match=said):
        diagnose(samples, data)


def test_constant_and_whole_numbers_are_named_and_judged(data: np.ndarray) -> None:
    assert asked(np.zeros((100, 2)), data, modes=CENTRES).verdict == "collapsed"
    with pytest.raises(ValueError, match="reference is constant"):
        diagnose(data, np.zeros((100, 2)))
    with pytest.raises(ValueError, match="both constant"):
        diagnose(np.zeros((100, 2)), np.zeros((100, 2)))
    whole = np.random.default_rng(0).integers(3, size=(300, 1))
    found = asked(whole[:150], whole[150:])
    assert found.verdict != "collapsed" and any("whole numbers" in n for n in found.notes)
    alone = diagnose(data)
    assert alone.findings == [] and "without a reference" in alone.notes[-1] and alone.about["modes"] == 4
    with pytest.raises(ValueError, match="constant"):
        diagnose(np.zeros((100, 2)))


@pytest.mark.parametrize(
    "options, said",
    [
        ({"modes": 3}, "only 1"), ({"modes": np.zeros((2, 3))}, "centres of 3 numbers"),
        ({"modes": ([0], [0])}, "a label for each row"), ({"modes": lambda r: [None] * len(r)}, "no row belongs to"),
        ({"states": True}, "same S states"), ({"states": np.zeros(50)}, "come together"),
        ({"states": np.zeros(3), "reference_states": np.zeros(3)}, "a state for each row"),
        ({"states": np.zeros(50), "reference_states": np.ones(600)}, "no state stands on both sides"),
        ({"repeats": 5}, "repeats >= 399"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(options: dict, said: str, data: np.ndarray) -> None:
    with pytest.raises(ValueError, match=said):
        diagnose(data[:50], data, **options)


# --------------------------------------------------------------------------------------------------------------- files
def test_every_kind_of_file_gives_the_same_numbers(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3))
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", samples=x, other=x[:2])
    np.savetxt(tmp_path / "a.csv", x, delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "named.csv", x, delimiter=",", fmt="%.17g", header="u,v,w", comments="")
    torch.save(torch.as_tensor(x), tmp_path / "a.pt")
    for source in ("a.npy", "a.npz", "a.npz:samples", "a.csv", "named.csv", "a.pt"):
        np.testing.assert_array_equal(bring(str(tmp_path / source)), x)
    np.testing.assert_array_equal(bring(torch.as_tensor(x).requires_grad_()), x)
    np.testing.assert_array_equal(bring(list(torch.as_tensor(x))), x)
    assert bring(shipped("recordings/hopper-medium-v0")).shape[1] == 3
    if importlib.util.find_spec("pandas") and importlib.util.find_spec("pyarrow"):
        importlib.import_module("pandas").DataFrame(x, columns=list("uvw")).to_parquet(tmp_path / "a.parquet")
        np.testing.assert_array_equal(bring(tmp_path / "a.parquet"), x)


def test_a_damaged_file_is_one_sentence_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n3\n")
    (tmp_path / "b.csv").write_text("1,2\nx,3\n")
    (tmp_path / "c.npz").write_bytes(b"PK no")
    (tmp_path / "d.npy").write_bytes(b"")
    (tmp_path / "e.pt").write_bytes(b"no")
    (tmp_path / "f.txt").write_text("1")
    (tmp_path / "j.parquet").write_bytes(b"no")
    np.save(tmp_path / "g.npy", np.array([[1], [1, 2]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "h.npz", u=np.ones(3), v=np.ones(3))
    for name, said in [
        ("a.csv", "line 2 has 1 numbers"), ("b.csv", "line 2 of b.csv"), ("c.npz", "c.npz"), ("d.npy", "d.npy"),
        ("e.pt", "no plain tensor"), ("f.txt", "none of .npz"), ("g.npy", "holds objects"), ("h.npz", "h.npz:KEY"),
        ("i.csv", "there is no file"), ("j.parquet", "j.parquet"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=said):
            bring(tmp_path / name)


def test_steps_of_a_recording_are_judged_with_a_warning_that_they_are_not_independent() -> None:
    hopper = str(shipped("recordings/hopper-medium-v0"))
    found = asked(bring(hopper)[:200], hopper, modes=1)
    assert found.about["d"] == 3 and [n for n in found.notes if "reference are all steps of a recording" in n]


# ------------------------------------------------------------------------------------------------------------- command
def test_the_command_writes_five_files_and_refuses_in_one_sentence(tmp_path: Path, data: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", four(150, 2, (0.5, 0.5, 0, 0)))
    np.save(tmp_path / "y.npy", data)
    words = ["diagnose", str(tmp_path / "x.npy"), "--reference", str(tmp_path / "y.npy"), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and done.output.startswith("collapsed (modes lost"), done.output
    out = tmp_path / "o"
    assert sorted(p.name for p in out.iterdir()) == [f"diagnosis.{e}" for e in ("csv", "html", "json", "pdf", "svg")]
    found = json.loads((out / "diagnosis.json").read_text())
    assert found["verdict"] == "collapsed" and {f["name"] for f in found["findings"]} <= set(QUESTIONS)
    assert len((out / "diagnosis.csv").read_text().splitlines()) == 1 + len(found["findings"])
    page = (out / "diagnosis.html").read_text()
    assert 'type":"parcoords"' in page and "<script src" not in page and "link href" not in page
    assert b"/FontFile2" in (out / "diagnosis.pdf").read_bytes() or b"/Type42" in (out / "diagnosis.pdf").read_bytes()
    assert "<text" in (out / "diagnosis.svg").read_text()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2 and "holds a diagnosis already" in again.output
    missing = CliRunner().invoke(app, ["diagnose", str(tmp_path / "no.npy")])
    assert missing.exit_code == 2 and "there is no file" in missing.output and missing.output.count("\n") == 1


def test_the_command_counts_ways_around_the_blocks_of_a_grid(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def plans(left: int, right: int) -> np.ndarray:
        side = np.repeat([-1.0, 1.0], [left, right])[:, None]
        line = np.array([(0.0, -1.0), (1.0, -1.0), (1.0, 1.0), (0.0, 1.0)])
        return np.stack([side * line[:, 0], np.tile(line[:, 1], (left + right, 1))], -1) + 0.05 * rng.standard_normal(
            (left + right, 4, 2)
        )

    grid = np.ones((5, 5), int)
    grid[1:4, 1:4] = 0
    grid[2, 2] = 1
    np.savetxt(tmp_path / "grid.csv", grid, delimiter=",", fmt="%d")
    np.save(tmp_path / "x.npy", plans(100, 0))
    np.save(tmp_path / "y.npy", plans(100, 100))
    words = ["diagnose", str(tmp_path / "x.npy"), "--reference", str(tmp_path / "y.npy"), "--walls"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "grid.csv")])
    assert done.exit_code == 0 and "share of the reference in lost modes 0.5" in done.output, done.output
    for walls, said in (("medim", "a maze is one of"), (str(tmp_path / "x.npy"), "a grid of 0 and 1 is wanted")):
        refused = CliRunner().invoke(app, [*words, walls])
        assert refused.exit_code == 2 and said in refused.output


def test_ten_thousand_rows_of_64_numbers_take_less_than_a_minute() -> None:
    rng = np.random.default_rng(0)
    begun = time.process_time()
    found = asked(rng.standard_normal((10_000, 64)), rng.standard_normal((10_000, 64)))
    assert time.process_time() - begun < 60 and found.about["rows_compared"] == [2000, 2000]
    assert found.verdict == "healthy"


def test_a_table_a_frame_and_json_say_the_same(data: np.ndarray) -> None:
    found = asked(four(100, 3), data, modes=CENTRES)
    assert str(found).splitlines()[0].startswith(found.verdict) and all(
        f.question in str(found) for f in found.findings
    )
    assert json.loads(found.to_json())["findings"][0]["name"] == found.findings[0].name
    if importlib.util.find_spec("pandas"):
        assert found.to_frame()["verdict"].tolist() == [f.verdict for f in found.findings]
    with pytest.raises(ValueError, match="was not asked"):
        found["motion"]
