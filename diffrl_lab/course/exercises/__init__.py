"""One exercise, one file: eNN_name.py answers to check("NN.name", answer). See diffrl_lab.course.checks for what a file holds."""
