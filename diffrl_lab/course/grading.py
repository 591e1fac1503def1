"""Grading, the trusted side: inputs drawn after submission, answers that come back as plain arrays, judged here.

A submission is one file in a folder of notebooks, or in one folder per student; several of a student are all graded.
Each gives OUT/submissions/<student>-<lesson>-<key>.json, and OUT/grades.json is the list of all of them, ordered by
student, lesson, received and file:

    student     name of the student's folder; in a flat folder the file's name without extension and lesson
    file        path below the folder of submissions, with /
    sha256      of the file's bytes; null where it was not read (too large, not a regular file)
    received    time of the file's last change, ISO 8601 in UTC, whole seconds
    lesson      "01", or null where neither file name nor content tells
    exercises   {"01.betas": {
                    "marks": 0.5, "of": 1.0,            of * share of the properties that hold; all only if it is right
                    "verdict": "...",                   one sentence for the student; plain text, may quote the student
                    "properties": {"input 1 of 2": true, ...},   what earns marks; {} where no answer came
                    "form": true,                       every answer has the right kind and shape; earns nothing
                    "status": "ok",                     see below
                    "seed": 123}, ...}                  cases(seed) were the inputs
    total, of   sums of marks and of "of" over the lesson's exercises; 0 and 0 where the lesson is null
    status      ok         it is a notebook and was run, whatever came of it
                empty      no bytes, or no cell
                broken     not JSON, or not a notebook
                refused    not read: larger than the limit, a link, a device
                unknown    no lesson that has exercises
    seconds     wall time of all its exercises
    grader      hash of the exercises, checks and grader it was marked with

Status of an exercise: ok (solved) | wrong | unsolved (the stub is still there) | missing (no cell asks it) | error (the
code raised) | timeout | memory | output (more came than may) | ended (the process ended without an answer).
Strings come from hostile hands: whoever shows them escapes them.
"""
