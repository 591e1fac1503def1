"""What all tests share: `--all`, CI's stricter rule for the browser, and that no test touches a learner's progress."""

from __future__ import annotations

import os

import pytest

# Small networks gain nothing from threads that wait for each other, and on a busy machine they lose a factor of ten.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DIFFRL_PROGRESS"] = "off"  # kernels started by nbval, nbclient and papermill inherit it

collect_ignore_glob = ["my/*", "runs/*", "notebooks/source/*", "notebooks/solutions/*", "*/.ipynb_checkpoints/*"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all",
        action="store_true",
        help="also run what takes minutes: every lesson in the browser, three seeds, slow tests",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    for item in items:
        for mark in ("slow", "network"):
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{mark}: run by `python3 run.py test --all`"))


def pytest_terminal_summary(terminalreporter, exitstatus: int, config: pytest.Config) -> None:
    for report in terminalreporter.stats.get("skipped", []):
        if "NO CHROMIUM" in str(report.longrepr):
            terminalreporter.write_sep("!", "NO CHROMIUM: the lessons were not seen in a browser", red=True, bold=True)
            break
