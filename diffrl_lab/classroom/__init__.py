"""An instructor's things: releases, grading in a sandbox, reports.

grading  Grading, the trusted side: inputs drawn after submission, answers that come back as plain arrays,
         judged here
release  Student editions for one cohort: constants, mixtures and one injected bug per lesson change with the
         variant
report   Reports on what was graded: marks under pseudonyms, feedback for each student, files for the gradebook
         of a course
sandbox  Grading, the untrusted side: a submission's cells are run here, and plain answers leave through a pipe
"""
