"""An instructor's things: releases, grading in a sandbox, reports."""
