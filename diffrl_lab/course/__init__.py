"""The course: checks, hints, editions, grading, and the state of an installation."""
