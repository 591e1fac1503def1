from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffrl_lab.course import checks, judging, progress
from diffrl_lab.widgets.ladder import Ladder


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exercise "99.double": twice x, where x**2 is the slip."""
    xs = [np.array([1.0, 3.0]), np.array([-2.0, 0.5])]
    slips = {"you squared it": [x**2 for x in xs]}
    module = SimpleNamespace(
        cases=lambda seed: [{"x": x} for x in xs],
        judge=lambda cases, answers: judging.match(answers, [2 * x for x in xs], slips),
        HINTS=("a hint",), RIGHT=[_double],
    )  # fmt: skip
    monkeypatch.setattr(checks, "load", lambda name: module)


def _double(x):
    return 2 * x


def test_arrays_arrive_as_tensors_and_a_right_answer_passes(double: None) -> None:
    assert checks.check("99.double", lambda x: torch.add(x, x)).ok


def test_a_known_slip_is_named(double: None) -> None:
    assert checks.check("99.double", lambda x: x**2).message == "you squared it"


def test_an_unknown_slip_is_shown_by_its_largest_difference(double: None) -> None:
    assert "is 9 where 6 is right" in checks.check("99.double", lambda x: 3 * x).message


def test_what_has_no_name_shows_the_input_it_came_out_on(double: None) -> None:
    wrong = checks.check("99.double", lambda x: torch.where(x == 0.5, 7, 2 * x))
    assert "on input 2 your answer is 7 where 1 is right, in entry [1]" in wrong.message
    assert wrong.given == "x = torch.tensor([-2.0, 0.5])"
    assert wrong.given in repr(wrong).split("\n  ") and wrong.given in wrong._repr_html_()
    assert checks.check("99.double", lambda x: 2 * x if x[0] > 0 else x[:1]).given == wrong.given
    assert checks.check("99.double", lambda x: 2 * x if x[0] > 0 else x / 0).given == wrong.given
    assert checks.check("99.double", lambda x: x**2).given == checks.check("99.double", lambda x: 2 * x).given == ""


def test_an_input_is_written_as_lines_that_make_it_again() -> None:
    rng = np.random.default_rng(0)
    case = {"x": rng.normal(size=(2, 3)), "on": np.array([True, False]), "gamma": np.pi, "n": 3, "which": "humped"}
    again: dict = {"torch": torch}
    exec(judging.written(case), again)
    for name, value in case.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-3) if name != "which" else None
    assert again["which"] == "humped" and again["on"].dtype == torch.bool
    assert (
        judging.written({"P": np.full((5, 3), 0.123456)})
        == "# P has shape [5, 3] and begins 0.1235, 0.1235, 0.1235, ..."
    )


def test_other_argument_names_are_told_with_those_that_are_wanted(double: None) -> None:
    def answer(values, scale=2):
        return scale * values

    assert checks.check("99.double", answer).message == "keep the argument names: x; your function has (values, scale)"
    assert checks.check("99.double", lambda x, scale=2: scale * x).ok
    slip = checks.check("99.double", lambda x: int(x, y=3)).message  # inside it, not in how it was called
    assert slip.startswith("your code raised TypeError")


def test_a_mask_of_one_plan_in_a_batch_of_plans_is_explained() -> None:
    def by_mask(D, x_t, t, known, value):
        x_t[known] = value[known]
        return D(x_t, t)

    assert "does not broadcast" in checks.verdict("04.pin", by_mask).message


@pytest.mark.parametrize("written", [("c", "b", "a"), "cba", "CBA", "c b a", "c, b, a", "(c)(b)(a)", ["C ", "b", "a"]])
def test_letters_may_be_written_in_any_way(written: object) -> None:
    assert judging.letters(written) == ("c", "b", "a")


def test_another_shape_is_told_as_shapes(double: None) -> None:
    assert "shape (2, 1); shape (2,)" in checks.check("99.double", lambda x: 2 * x[:, None]).message


def test_nan_is_told_as_nan(double: None) -> None:
    assert "nan or inf" in checks.check("99.double", lambda x: x / 0).message


def test_an_exception_becomes_a_sentence_with_the_learners_own_line(double: None) -> None:
    def answer(x):
        return torch.cat([x, x.no_such_thing])

    message = checks.check("99.double", answer).message
    assert (
        "AttributeError" in message
        and "`return torch.cat([x, x.no_such_thing])`" in message
        and "x of shape (2,)" in message
    )


def test_a_return_missing_on_one_path_is_told(double: None) -> None:
    assert "return missing" in checks.check("99.double", lambda x: 2 * x if x[0] > 0 else None).message


def test_leaving_the_interpreter_is_an_exception_like_any_other(double: None) -> None:
    assert "SystemExit" in checks.check("99.double", lambda x: exit(3)).message


def test_an_answer_cannot_change_the_cases_it_is_judged_on(double: None) -> None:
    assert not checks.check("99.double", lambda x: x.mul_(0.5))
    assert checks.check("99.double", lambda x: x.mul_(2.0))


def test_an_answer_leaves_the_global_generator_as_it_was(double: None) -> None:
    before = torch.get_rng_state()
    checks.check("99.double", lambda x: 2 * x + 0 * torch.rand(2))
    assert torch.equal(before, torch.get_rng_state())


def test_a_verdict_reads_the_same_in_text_and_in_html(double: None) -> None:
    wrong = checks.check("99.double", lambda x: x**2)
    assert repr(wrong) == '✗ 99.double: you squared it\n  hint("99.double") opens a hint'
    assert "you squared it" in wrong._repr_html_()
    assert repr(checks.check("99.double", None)).startswith("○ 99.double: exercise not solved yet")


def test_each_call_opens_the_next_rung_until_the_solution(
    double: None, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    assert [checks.hint("99.double").text.strip() for _ in range(3)] == ["a hint"] + 2 * [
        "def _double(x):\n    return 2 * x"
    ]
    assert checks.hint("99.double", 1).text == "a hint"
    with pytest.raises(ValueError, match="rungs 1 to 2, not 3"):
        checks.hint("99.double", 3)


def test_an_unknown_exercise_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no exercise is called '01.nonsense'"):
        checks.check("01.nonsense", 1)


def press_through(verdict: checks.Offer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the button below a verdict shows, press after press, until it is dead."""
    made = []
    true = Ladder._repr_mimebundle_
    monkeypatch.setattr(Ladder, "_repr_mimebundle_", lambda self, **kw: made.append(self) or true(self, **kw))
    bundle = verdict._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert (bundle["text/plain"], bundle["text/html"]) == (repr(verdict), verdict._repr_html_())
    [shown] = made
    while not shown.button.disabled:
        shown.button.click()
    return [child.value for child in shown.rungs.children]


@pytest.mark.parametrize("exercise", checks.exercises())
def test_the_button_below_a_verdict_opens_every_rung(exercise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_memory", {})
    opened = press_through(checks.Offer(False, "not yet", exercise), monkeypatch)
    assert opened == [rung._repr_html_() for rung in checks.ladder(exercise)]
    assert progress.opened(exercise) == len(opened)


def test_what_is_solved_or_no_exercise_has_no_button() -> None:
    assert checks.Offer(True, "right", checks.exercises()[0])._repr_mimebundle_() == {}
    assert checks.Offer(False, "no exercise")._repr_mimebundle_() == {}


def test_a_lesson_goes_on_with_the_courses_answer_until_the_learners_has_passed(
    double: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(checks, "_PASSED", {})

    def own(x):
        return x + x

    assert checks.mine("99.double") is _double
    checks.check("99.double", lambda x: x**2)
    assert checks.mine("99.double") is _double, "a wrong answer must not be what the lesson goes on with"
    checks.check("99.double", own)
    checks.check("99.double", lambda x: x**2)
    assert checks.mine("99.double") is own, "what has passed stays, whatever is tried later"
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["○", "○", "✓"]


def test_exercises_of_a_lesson_are_not_those_of_the_lesson_with_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["e04_pin.py", "e04b_spread.py", "e05_cfg.py"]
    monkeypatch.setattr(checks.Path, "glob", lambda self, pattern: [checks.Path(name) for name in names])
    assert checks.exercises() == ["04.pin", "04b.spread", "05.cfg"]
    assert checks.exercises("04") == ["04.pin"] and checks.exercises("04b") == ["04b.spread"]
