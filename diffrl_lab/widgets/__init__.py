"""What a lesson shows: `views` (numbers -> pictures), `movie` (scrub a reverse process), `explore` (recompute),
`guess` (predict, then run).
"""
