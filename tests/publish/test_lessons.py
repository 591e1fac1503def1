from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest

import benchmarks.__main__
import benchmarks.lessons
from diffrl_lab.course import editions, running
from diffrl_lab.publish import lessons, pages, readme

SOURCE = '''# %% [markdown]
# # 77 · Toy

# %% tags=["parameters"]
PROFILE = "class"
SEED = 0

# %% tags=["exercise"]
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


# %%
### BEGIN SOLUTION
### STUB answer = None
answer = SEED
### END SOLUTION
print(PROFILE); answer
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    (tmp_path / "notebooks" / "source" / "77_toy.py").write_text(SOURCE)
    return tmp_path


def cells(root: Path, solutions: bool = False) -> list[str]:
    return [c.source for c in editions.edition(editions.sources(root=root)[0], solutions).cells]


def test_the_learners_edition_has_stubs_and_the_other_one_answers(root: Path) -> None:
    assert "    raise NotImplementedError  # write your answer here" in cells(root)[2] and "2 * x" not in cells(root)[2]
    assert cells(root)[3].startswith("answer = None\n") and "SOLUTION" not in "".join(cells(root))
    assert (
        "    return 2 * x" in cells(root, True)[2]
        and "answer = SEED" in cells(root, True)[3]
        and "None" not in cells(root, True)[3]
    )


@pytest.mark.parametrize(
    "text", ["### BEGIN SOLUTION\n### STUB a = 1", "### END SOLUTION", "### BEGIN SOLUTION\na = 1\n### END SOLUTION"]
)
def test_markers_that_do_not_pair_up_or_would_stop_the_notebook_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="SOLUTION|STUB"):
        editions.unsolved(text)


def test_a_build_runs_keeps_outputs_and_agrees_with_its_source(root: Path) -> None:
    [(path, _)] = lessons.build(root=root)
    built = nbformat.read(path, as_version=4)
    assert [c.id for c in built.cells] == ["77-000", "77-001", "77-002", "77-003"]
    assert built.cells[3].outputs[0].text == "class\n"
    source = editions.sources(root=root)[0]
    assert lessons.differences(source) == []
    source.write_text(SOURCE.replace("Twice x.", "Two times x."))
    assert any('+    """Two times x' in line for line in lessons.differences(source))
    lessons.build(run=False, root=root)
    assert lessons.differences(source) == []


def test_widget_state_views_and_addresses_never_reach_the_file() -> None:
    data = {lessons.WIDGET: {"model_id": "1"}, "text/plain": "VBox()"}
    outputs = [
        nbformat.v4.new_output("display_data", data=data),
        nbformat.v4.new_output("display_data", data=data | {"image/png": "abcd", "text/plain": "<Movie at 0x7f12>"}),
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x", outputs=outputs)], metadata={"widgets": {}}
    )
    [kept] = lessons.clean(notebook).cells[0].outputs
    assert kept.data == {"image/png": "abcd", "text/plain": "<Movie>"} and "widgets" not in notebook.metadata


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda n: n.metadata.update(widgets={}), "metadata of its own: widgets"),
        (lambda n: n.metadata.update(papermill={"duration": 1.5}), "metadata of its own: papermill"),
        (lambda n: n.cells[3].metadata.update(execution={"iopub.status": "2026"}), "cell 77-003: metadata execution"),
        (lambda n: n.cells[3].metadata.update(papermill={}), "cell 77-003: metadata papermill"),
        (lambda n: n.cells[3].outputs[1].data.update({lessons.WIDGET: {}}), "cell 77-003: a widget's view"),
        (lambda n: n.cells[3].outputs[1].data.update({"text/plain": "<A at 0x7f1234>"}), "cell 77-003: an address"),
        (lambda n: n.cells[3].outputs[0].update(text="in /home/me/x.py"), "cell 77-003: an address or a path"),
        (lambda n: n.cells[3].outputs[0].update(name="stderr"), "cell 77-003: stderr"),
    ],
)
def test_what_varies_in_a_stored_notebook_is_a_difference_that_is_named(spoil, said: str, root: Path) -> None:
    lessons.build(run=False, root=root)
    [source] = editions.sources(root=root)
    notebook = nbformat.read(editions.target(source), as_version=4)
    result = nbformat.v4.new_output("execute_result", data={"text/plain": "0"})
    notebook.cells[3].outputs = [nbformat.v4.new_output("stream", text="class\n"), result]
    nbformat.write(notebook, editions.target(source))
    assert lessons.differences(source) == []
    spoil(notebook)
    nbformat.write(notebook, editions.target(source))
    [found] = lessons.differences(source)
    assert said in found


def test_a_learners_copy_is_never_overwritten(root: Path) -> None:
    lessons.build(run=False, root=root)
    mine, _ = editions.start("77", root=root)
    mine.write_text("my work")
    assert editions.start("77", root=root) == (mine, None) and mine.read_text() == "my work"
    for n in (1, 2):
        _, aside = editions.start("77", reset=True, root=root)
        assert aside is not None and aside.name == f"77_toy.{n}.ipynb"
    assert (root / "my" / "77_toy.1.ipynb").read_text() == "my work" and "Toy" in mine.read_text()


def test_a_learners_copy_holds_no_output_that_would_answer_a_question(root: Path) -> None:
    lessons.build(run=False, root=root)
    [source] = editions.sources(root=root)
    stored = nbformat.read(editions.target(source), as_version=4)
    stored.cells[3].outputs = [nbformat.v4.new_output("stream", text="what came out: 41\n")]
    stored.cells[3].execution_count = 1
    nbformat.write(stored, editions.target(source))
    mine, _ = editions.start("77", root=root)
    copy = nbformat.read(mine, as_version=4)
    assert "41" not in mine.read_text() and {c.get("execution_count") for c in copy.cells} == {None}
    assert [c.source for c in copy.cells] == [c.source for c in stored.cells]


def test_parameters_reach_the_notebook_and_unknown_ones_are_errors(root: Path) -> None:
    lessons.build(run=False, root=root)
    which, parameters = running.split_parameters("77 -p SEED 3 --parameter PROFILE smoke".split())
    [(made, *_)] = running.run(which, parameters, root / "runs", solutions=True, root=root)
    outputs = nbformat.read(made, as_version=4).cells[-1].outputs
    assert outputs[0].text == "smoke\n" and outputs[1].data["text/plain"] == "3"
    with pytest.raises(ValueError, match="no parameter 'SED'; it has: PROFILE, SEED"):
        running.run(["77"], {"SED": 1}, root / "runs", root=root)
    with pytest.raises(ValueError, match="no profile is called 'tiny'"):
        running.run(["77"], {"PROFILE": "tiny"}, root / "runs", root=root)


@pytest.mark.parametrize("words", ["SEED 1e3", "SEED 3.5", "SEED abc", "SEED -1", "SEED true", "PROFILE 3", "SEED ["])
def test_a_parameter_of_another_type_than_its_default_is_refused_before_a_kernel_starts(
    words: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons.build(run=False, root=root)
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))
    name, value = words.split()
    with pytest.raises(ValueError, match=rf"(?i){name} .*got .?{re.escape(value)}"):
        running.run(*running.split_parameters(["77", "-p", *words.split()]), root / "runs", root=root)


def test_a_parameter_becomes_the_type_of_its_default() -> None:
    known = {"0.5": [(1, 1.0), ("1e3", 1e3), (2.5, 2.5)], "3": [(7, 7)], "None": [("x", "x")], "f(1)": [([1], [1])]}
    for default, pairs in known.items():
        for value, wanted in pairs:
            made = running.as_default("X", value, default)
            assert made == wanted and type(made) is type(wanted)
    for default, value in (("0.5", True), ("0.5", "x"), ("[1]", 1), ("(1, 2)", "x"), ("True", 1), ("{}", [])):
        with pytest.raises(ValueError, match=r"^X is .* such as .*; got "):
            running.as_default("X", value, default)


def test_an_unknown_lesson_is_an_error_that_names_the_known_ones(root: Path) -> None:
    with pytest.raises(ValueError, match="no lesson is called '78'; known are: 77_toy"):
        editions.start("78", root=root)


def test_a_picture_is_stored_once_where_html_repeats_it() -> None:
    both = {"image/png": "abcd\n", "text/html": '<img src="data:image/png;base64,abcd">', "text/plain": "a picture"}
    other = {"text/html": "why?", "text/plain": "words"}
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in (both, other)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=outputs)])
    kept = lessons.clean(notebook).cells[0].outputs
    assert [set(o.data) for o in kept] == [{"image/png", "text/plain"}, {"text/html", "text/plain"}]


def test_a_run_leaves_a_page_and_the_kernels_own_peak_memory(root: Path) -> None:
    source = root / "notebooks" / "source" / "77_toy.py"
    source.write_text(
        SOURCE + "\n# %%\nfilled = bytearray(PEAK * 10**6)\nfilled[::4096] = bytes(len(filled[::4096]))\ndel filled\n"
    )
    source.write_text(source.read_text().replace("SEED = 0", "SEED = 0\nPEAK = 0"))
    lessons.build(run=False, root=root)
    [low] = running.run(["77"], {}, root / "runs", page=pages.write, root=root)
    [high] = running.run(["77"], {"PEAK": 300}, root / "runs", root=root)
    assert 290 < high.peak_mb - low.peak_mb < 330 and 30 < low.peak_mb < 300
    assert "<h1>77 · Toy</h1>" in (root / "runs" / "77_toy.html").read_text()
    assert running.report([low], "me")["lessons"] == {
        "77_toy": {"seconds": round(low.seconds, 1), "peak_mb": low.peak_mb}
    }


@pytest.mark.parametrize("run", [True, False])
def test_what_is_published_is_never_a_quick_run(run: bool, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = editions.sources(root=root)
    source.write_text(SOURCE.replace('PROFILE = "class"', 'PROFILE = "smoke"'))
    monkeypatch.setattr(lessons, "execute", lambda *_: pytest.fail("a kernel was started"))
    with pytest.raises(ValueError, match="77_toy.py: what is published is made with .* its own is 'smoke'"):
        lessons.build(run=run, root=root)
    assert not editions.target(source).exists()


def test_a_build_makes_the_page_from_what_it_executed(root: Path) -> None:
    lessons.build(root=root)
    assert "<pre>class\n</pre>" in (root / "build" / "html" / "77_toy.html").read_text()


@pytest.mark.parametrize(
    ("seconds", "sentence"), [(89.9, None), (90.1, "lesson 01_ddpm took 90 s; its budget is 60 s")]
)
def test_the_benchmark_fails_over_one_and_a_half_budgets_after_its_table(
    seconds: float, sentence: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    done = [running.Ran(Path("00_start.ipynb"), 1.0, 200), running.Ran(Path("01_ddpm.ipynb"), seconds, 500)]
    monkeypatch.setattr(benchmarks.lessons, "run", lambda: benchmarks.lessons.rows(done))
    monkeypatch.setattr(benchmarks.__main__, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(readme, "fill", lambda: None)
    with nullcontext() if sentence is None else pytest.raises(SystemExit, match=sentence):
        benchmarks.__main__.main(["lessons"])
    assert "| 01_ddpm | " in capsys.readouterr().out and "| 01_ddpm | " in (tmp_path / "RESULTS.md").read_text()
