"""World models: what the world does next, learned from recordings.

diamond  DIAMOND (Alonso et al. 2024): a world model that draws the next picture by diffusion, given the last
         ones
"""
