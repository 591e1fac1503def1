"""Methods that act: an action or a chunk of actions is drawn at each state.

autoregressive    Autoregressive policy over bins (Metz et al. 2017): one number of a chunk after the other,
                  each drawn from bins
cfgrl             CFGRL (Frans et al. 2025): improvement by classifier-free guidance, as strong as asked for
                  when it acts
chunks            What policies over chunks of actions share: the data they are trained on, their draws, and how
                  they act
cloning           Behaviour cloning (Pomerleau 1989): the recorded action as a function of the state, by least
                  squares
critics           What offline policies share: twin Q, the expectile V of IQL, their data, and agents that draw
                  and choose
diffusion_policy  Diffusion Policy (Chi et al. 2023): behaviour cloning that samples what was done, several
                  actions at a time
diffusion_ql      Diffusion-QL (Wang et al. 2023): a diffusion policy that imitates the data and climbs Q
                  through its whole chain
dsrl              DSRL (Wagenmaker et al. 2025): a frozen diffusion policy is steered by the noise that its chain
                  begins with
edp               EDP (Kang et al. 2023): a diffusion policy that climbs Q at the action that one denoising gives,
                  not a whole chain
fql               FQL (Park et al. 2025): a flow that clones, and beside it a policy of one step that learns from
                  it and climbs Q
gaussian          A Gaussian policy by maximum likelihood: mean and deviation as functions of the state (Nix and
                  Weigend 1994)
gciql             GCIQL (in OGBench, Park et al. 2025): IQL with goals in hindsight, whose policy climbs Q and is
                  held to the data
idql              IDQL (Hansen-Estruch et al. 2023): a diffusion model of what was done, and a critic that
                  chooses among its draws
iql               IQL (Kostrikov et al. 2022): critics that never leave the data, and a Gaussian policy of its
                  better actions
mixture           Mixture density policy: K Gaussians whose weights, means and deviations depend on the state
                  (Bishop 1994)
qgpo              QGPO (Lu et al. 2023): a clone, guided by an energy that contrast teaches at every noise level,
                  so that it is exact
regression        Least squares over chunks: the next actions as a function of the state, in the manner of ACT
                  (Zhao et al. 2023)
srpo              SRPO (Chen et al. 2024): one action, which climbs Q and is held by the slope of a frozen
                  clone's density
td3_bc            TD3+BC (Fujimoto and Gu 2021): a deterministic policy that climbs Q and is held to the data by
                  least squares
two_step          Two-step regression (Pan et al. 2025, "Much Ado About Noising", minimal iterative policy): a
                  guess, then a repair
weighted          Advantage-weighted diffusion: a diffusion model of what was done, in which good actions count
                  more
"""
