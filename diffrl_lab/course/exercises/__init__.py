"""One exercise, one file: eNN_name.py is asked by check("NN.name", answer); course.checks says what it holds."""
