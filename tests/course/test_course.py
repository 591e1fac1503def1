"""What a lesson imports from the course."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffrl_lab import course


@pytest.mark.parametrize("name", course.__all__)
def test_every_name_is_its_function_although_a_file_may_share_the_name(name: str) -> None:
    code = f"from diffrl_lab.course import {name}; assert callable({name}), {name}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_the_course_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'marks'"):
        course.marks  # noqa: B018
