"""A blank page: a DDPM in at most 60 lines of torch. course.blank judges it."""
