"""World models: what the world does next, learned from recordings.

diamond   DIAMOND (Alonso et al. 2024): a world model that draws the next picture by diffusion, given the last
          ones
polygrad  PolyGRAD (Rigter et al. 2023): a world model that draws a whole rollout at once, its actions led by a
          policy
replay    Prioritised generative replay (Wang et al. 2024): transitions drawn where a score, such as curiosity, is
          high
synther   SynthER (Lu et al. 2023): new transitions for an old recording, drawn by diffusion, to train offline
          methods on
"""
