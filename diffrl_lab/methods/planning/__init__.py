"""Methods that plan: a whole trajectory is diffused, then followed.

adapt_diffuser     AdaptDiffuser (Liang et al. 2023): a planner draws plans for new tasks, filters them, and is tuned
                   on what is left
compositional      CompDiffuser (Luo et al. 2025): a long plan as chunks that are denoised together, each shown
                   its noisy neighbours
consistency        Consistency models (Song et al. 2023): a planner of one step whose answer stays the same along a
                   way of the flow
constrained        Constrained planning (SafeDiffuser, Xiao et al. 2023, and its rivals): rules that are given
                   when a plan is drawn
decision_diffuser  Decision Diffuser (Ajay et al. 2023): plans of states only, conditioned on a return or a goal
                   without a classifier
diffuser           Diffuser (Janner et al. 2022): planning as denoising
distilled          A planner of one step, or of a few: a student of a `Diffuser`'s deterministic chain (Luhman
                   and Luhman 2021; Salimans and Ho 2022, "Progressive Distillation")
forcing            Diffusion Forcing (Chen et al. 2024): every point of a plan has a noise level of its own
graph              Graph of waypoints (search on the replay buffer: Eysenbach et al. 2019) with a diffusion
                   model of chunks as motion
hierarchical       Hierarchical planning with diffusion (Chen et al. 2024): subgoals every K points first, then the
                   legs between them
language           Language-conditioned planning at toy scale (after MTDiff, He et al. 2023, and LCD, Zhang et al.
                   2024): a sentence says what a plan must do
latent             Latent plans (after LatentDiffuser, Li 2023): an autoencoder of plans, and a diffusion model
                   over its code
plans              Plans, which several methods draw: what one is, which tasks are held out, and what is read
                   off the data beside it
receding           Planning as denoising for robots (Diffuser's locomotion half, Janner et al. 2022): guided
                   windows, planned again and again
shortcut           Shortcut models (Frans et al. 2025): a planner of one step that teaches itself, told how far
                   each step goes
tree               Monte-Carlo tree diffusion (Yoon et al. 2025): a tree of chunks, grown where plans through it come
                   out well
value_guidance     Value guidance (Diffuser, Janner et al. 2022): a learned J(x_t, t) of the *noisy* plan,
                   climbed while denoising
windows            Windows of a robot's log as denoising: Diffuser's plan (Janner et al. 2022) before anything
                   guides it
"""
