"""The course: checks, hints, guesses, editions, and the state of an installation.

In a lesson: `from diffrl_lab.course import check, hint, guess`. Nothing is imported before it is asked for, because
`doctor` has to run where torch does not.

    blank      Blank pages: a task without a frame, judged by laws alone
    blank_01   A blank page: a DDPM in at most 60 lines of torch
    blank_05   A blank page: classifier-free guidance in at most 60 lines of torch
    blank_run  Put a learner's page to its questions, in a process of its own: `python -I blank_run.py PAGE
               QUESTIONS ANSWERS`
    checks     What a learner calls: `check` judges an answer at once, `hint` opens the next rung of its ladder,
               `mine` uses it
    editions   One source per lesson, the editions built from it, and a learner's own copy
    exercises  One exercise, one file: eNN_name.py is asked by check("NN.name", answer); course.checks says what it
               holds
    guesses    Predict, then run: guesses kept with what came out, and how well they were aimed over the whole
               course
    judging    How an answer is judged: cases are put to it, what comes back is made plain, and plain values are
               compared
    mutations  Mutation-tested checks: what every exercise says to its wrong answers
    outline    The outline of the course as the lessons' sources tell it: titles, what each needs, and all letters
    pathway    A learner's way through the course as a table
    progress   What a learner has tried: attempts, opened hints, time, guesses; one small JSON file that never
               leaves the machine
    running    Running a lesson in a kernel, with other parameters and in another folder
    verdicts   The survey's claims, each with the lesson that tests it and what came out: data/claims.csv and its
               table
"""

from __future__ import annotations

from diffrl_lab.files import exported

__all__, __getattr__, __dir__ = exported(
    __name__,
    {
        "checks": "check hint mine",
        "guesses": "aim guess",
        "outline": "symbols",
        "pathway": "overview",
        "verdicts": "claims",
    },
)
