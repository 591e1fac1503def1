"""The judge of the blank page: two right pages pass, each slip is told by its own sentence, and none can stop it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffrl_lab.course import blank
from diffrl_lab.course.blank_01.wrong import BOOTSTRAP, WRONG
from diffrl_lab.course.blank_05 import wrong as wrong_05

RIGHT = [page for number in blank.FUNCTIONS for page in sorted(blank.folder(number).glob("right_*.py"))]
CLASSIC = (blank.folder("01") / "right_classic.py").read_text("utf-8")
PAGE_05 = (blank.folder("05") / "right_v.py").read_text("utf-8")


@pytest.mark.parametrize("page", RIGHT, ids=[p.stem for p in RIGHT])
@pytest.mark.parametrize("seed", [0, 1])
def test_right_pages_pass_however_they_are_written(page: Path, seed: int) -> None:
    verdict = blank.judge(page, seed, page.parent.name[-2:])
    assert verdict.ok, verdict


@pytest.mark.parametrize(("old", "new", "told"), wrong_05.WRONG, ids=[told for *_, told in wrong_05.WRONG])
def test_each_slip_of_guidance_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert PAGE_05.count(old) == 1
    (tmp_path / "page.py").write_text(PAGE_05.replace(old, new), encoding="utf-8")
    verdict = blank.judge(tmp_path / "page.py", number="05")
    assert verdict.ok is False and told in verdict.message, verdict
    assert [t for *_, t in wrong_05.WRONG if t in verdict.message] == [told]


def test_a_number_without_a_blank_page_is_told_which_there_are(tmp_path: Path) -> None:
    for ask in (lambda: blank.start("04", root=tmp_path), lambda: blank.judge(Path(__file__), number="04")):
        with pytest.raises(ValueError, match="there are the blank pages 01, 05; got '04'"):
            ask()
    assert "guidance" in blank.start("05", root=tmp_path)[0].read_text("utf-8")


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[told for *_, told in WRONG])
def test_each_slip_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = CLASSIC.replace(old, new)
    assert CLASSIC.count(old) >= 1
    if "copies" in told:
        text = text.replace(*BOOTSTRAP)
    (tmp_path / "page.py").write_text(text, encoding="utf-8")
    verdict = blank.judge(tmp_path / "page.py")
    assert verdict.ok is False and told in verdict.message, verdict
    assert [t for *_, t in WRONG if t in verdict.message] == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import torch\nimport numpy as np\n", "imports numpy"),
        ("from diffrl_lab.diffusion import ddpm\n", "imports diffrl_lab.diffusion"),
        ("x = 1\n" * 61, "61 lines where 60 are the most"),
        ("def f(:\n", "is no Python"),
        ("import torch\ndef betas(T): return T\n", "missing: noised(), posterior(), train(), sample()"),
        ("import math\nx = open('a')\n", "it uses open"),
        (CLASSIC.replace("T = 100\n", "T = 100 / 0\n"), "ZeroDivisionError: division by zero in line 5, `T = 100 / 0`"),
        (CLASSIC.replace("T = 100\n", "T = 100\nraise SystemExit(0)\n"), "SystemExit"),
        (CLASSIC.replace("T = 100\n", "T = torch.zeros(1 << 40)\n"), "RuntimeError"),
    ],
)
def test_a_page_that_cannot_be_judged_gets_a_sentence(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(text, encoding="utf-8")
    verdict = blank.judge(tmp_path / "page.py")
    assert verdict.ok is False and told in verdict.message, verdict


@pytest.mark.parametrize(("encoding", "head"), [("utf-8-sig", ""), ("latin-1", "# coding: latin-1\n")])
def test_a_page_is_read_as_python_reads_it(encoding: str, head: str, tmp_path: Path) -> None:
    page = tmp_path / "blank_01.py"
    page.write_bytes((head + CLASSIC + "\nraise ValueError('\u00e9\u00fc')\n").encode(encoding))
    assert "your code raised ValueError: \u00e9\u00fc in line" in blank.judge(page).message


@pytest.mark.parametrize("raw", [
    (CLASSIC + "# \u00e9").encode("cp1252"), CLASSIC.encode("utf-16"), b"# coding: klingon\n",
], ids=["cp1252", "utf-16", "unknown"])  # fmt: skip
def test_a_page_in_another_encoding_is_told_by_its_name_and_what_to_do(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "blank_01.py").write_bytes(raw)
    verdict = blank.judge(tmp_path / "blank_01.py")
    assert verdict.ok is False and "blank_01.py is not UTF-8: save it again as UTF-8" in verdict.message


def test_a_page_with_a_null_byte_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_bytes(b"x = 1\0\n")
    assert "it is no Python" in blank.judge(tmp_path / "page.py").message


def test_an_endless_page_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blank, "SECONDS", 1)
    (tmp_path / "page.py").write_text(CLASSIC + "\nwhile True: pass\n", encoding="utf-8")
    assert "took more than 1 s" in blank.judge(tmp_path / "page.py").message


def test_the_task_is_an_empty_page_that_is_never_overwritten(tmp_path: Path) -> None:
    page, aside = blank.start(root=tmp_path)
    assert aside is None and blank.judge(page).ok is None
    page.write_text("mine")
    assert blank.start(root=tmp_path)[0].read_text() == "mine"
    assert blank.start(root=tmp_path, reset=True)[1].read_text() == "mine" and "DDPM" in page.read_text("utf-8")
