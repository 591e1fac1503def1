"""A blank page: classifier-free guidance in at most 60 lines of torch. course.blank judges it."""
