"""The methods of the field, one row each. A row names the links in which the method differs from GRPO.

Notation of the formulas: r reward; N responses a prompt, c of them right, rho = c / N; A advantage; gamma the ratio
exp(log pi - log pi_old) of a token; H its entropy; sg stop-gradient; clip to [1 - clip_low, 1 + clip_high]. Unless a
row says otherwise: A as in grpo, loss the mean over tokens of -min(gamma A, clip(gamma) A), no KL term.

Every option without a sourced value is REQUIRED. Method (method.py) says how to call a row and how to set its options.
"""

from functools import partial

from simko.objectives import advantages as adv
from simko.objectives import reweighting as rew
from simko.objectives import selection as sel
from simko.objectives import surrogate as sur
from simko.objectives import tokens as tok
from simko.objectives.method import Method
from simko.objectives.options import REQUIRED
from simko.objectives.reduction import reduce_loss

GRPO = partial(adv.standardised, eps=1e-6, ddof=1)
GATE = partial(tok.gate_by_entropy, gate_quantile=0.8)
SPREAD = partial(tok.spread_over_candidates, alpha=0.01)
PENALISE = partial(tok.penalise_ratio, top_penalty=1.1)

WEIGHT_TITLE = "The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning"
COV_TITLE = "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models"
SIMKO_TITLE = "SimKO: Simple Pass@K Policy Optimization"

_ROWS = (
    Method(
        name="grpo",
        title="DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        arxiv="2402.03300",
        summary="Rewards standardised inside the group, clipped ratio: the baseline of the others.",
        formula="A = (r - mean) / (std + eps), std with ddof 1",
        note="eps is 1e-6 in verl and 1e-4 in TRL. The paper takes the mean of each response first; here, as in its "
        "users' code, the mean over tokens.",
        estimator=GRPO,
    ),
    Method(
        name="dr_grpo",
        title="Understanding R1-Zero-Like Training: A Critical Perspective",
        arxiv="2503.20783",
        summary="No division by the std, and by a constant length instead of the response's own.",
        formula="A = r - mean; loss = sum over tokens / (rows x length)",
        note="length is the maximum response length of the run (3,000 in its code); left at None it is the width of "
        "the batch, which then changes with padding.",
        estimator=partial(adv.centred),
        reduction=partial(reduce_loss, reduction="constant", length=None),
    ),
    Method(
        name="rloo",
        title="Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs",
        arxiv="2402.14740",
        summary="The baseline of a response is the mean reward of the others.",
        formula="A = r - mean of the others = N / (N - 1) (r - mean)",
        estimator=partial(adv.leave_one_out),
    ),
    Method(
        name="dapo",
        title="DAPO: An Open-Source LLM Reinforcement Learning System at Scale",
        arxiv="2503.14476",
        summary="GRPO with a wider clip above, the mean over tokens and no KL term.",
        formula="clip_low 0.2, clip_high 0.28",
        note="Its resampling of groups with one outcome and its penalty on overlong responses belong to the trainer "
        "and the reward.",
        estimator=GRPO,
        surrogate=partial(sur.clip_ratio, clip_low=0.2, clip_high=0.28),
    ),
    Method(
        name="gspo",
        title="Group Sequence Policy Optimization",
        arxiv="2507.18071",
        summary="One ratio for the whole response, clipped as one.",
        formula="gamma = exp(mean over the response's tokens of log pi - log pi_old); mean over responses",
        estimator=GRPO,
        ratio=partial(sur.sequence_ratio),
        surrogate=partial(sur.clip_ratio, clip_low=3e-4, clip_high=4e-4),
        reduction=partial(reduce_loss, reduction="sequence_mean"),
    ),
    Method(
        name="cispo",
        title="MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention",
        arxiv="2506.13585",
        summary="The ratio is capped as a weight, so that no token loses its gradient.",
        formula="loss = -sg(min(gamma, ratio_cap)) A log pi",
        note="ratio_cap is the cap itself, as in TRL (which advises 5); verl and F-GRPO cap at 1 + clip_high. The "
        "lower clip is off.",
        estimator=GRPO,
        surrogate=partial(sur.cap_weight, ratio_cap=5.0),
    ),
    Method(
        name="psr",
        title=WEIGHT_TITLE,
        arxiv="2506.01347",
        summary="Only right responses are trained on.",
        formula="A = 1 if right; wrong ones leave the loss and its denominator",
        note="No entropy bonus and no KL term here; the authors' scripts leave on an entropy bonus of 0.001.",
        edges="The group does not matter: 1 if right, else 0 (left out).",
        estimator=partial(adv.signs, right=1.0, wrong=0.0),
        token_mask=partial(tok.rows_with_advantage),
        binary=True,
        metrics=("kept", "ratio", "clipped"),
    ),
    Method(
        name="nsr",
        title=WEIGHT_TITLE,
        arxiv="2506.01347",
        summary="Only wrong responses are trained on.",
        formula="A = -1 if wrong; right ones leave the loss and its denominator",
        note="No entropy bonus and no KL term here; the authors' scripts leave on an entropy bonus of 0.001.",
        edges="The group does not matter: -1 if wrong, else 0 (left out).",
        estimator=partial(adv.signs, right=0.0, wrong=-1.0),
        token_mask=partial(tok.rows_with_advantage),
        binary=True,
        metrics=("kept", "ratio", "clipped"),
    ),
    Method(
        name="w_reinforce",
        title=WEIGHT_TITLE,
        arxiv="2506.01347",
        summary="Wrong responses at full weight, right ones at a tenth; no baseline.",
        formula="A = positive_weight if right, -1 if wrong",
        edges="The group does not matter: positive_weight if right, -1 if wrong.",
        estimator=partial(adv.weighted_signs, positive_weight=0.1),
        binary=True,
    ),
    Method(
        name="passk_training",
        title="Pass@k Training for Adaptively Balancing Exploration and Exploitation of Large Reasoning Models",
        arxiv="2508.10751",
        summary="The mean GRPO advantage of the k-subsets a response is in, a subset being right if any member is.",
        formula="R = 1 - C(N-c, k) / C(N, k); s = sqrt(R (1 - R)) + eps; right: (1 - R) / s; "
        "wrong: (1 - R - C(N-c-1, k-1) / C(N-1, k-1)) / s",
        note="k = 1 is GRPO with ddof 0. At k = N every advantage is 0.",
        edges="A group with fewer than k wrong, or all wrong, gets 0. One drawn with fewer than k is refused.",
        estimator=partial(adv.subset_advantages, k=REQUIRED, eps=1e-6),
        binary=True,
    ),
    Method(
        name="pkpo",
        title="Pass@K Policy Optimization: Solving Harder Reinforcement Learning Problems",
        arxiv="2505.15201",
        summary="The unbiased gradient of pass@k, in the paper's estimator of least variance.",
        formula="A = k (1 - pass@(k-1) of the other N - 1) if right, 0 if wrong",
        note="N times the paper's transform, whose sum over the group is a mean here. A further leave-one-out baseline "
        "would bias it. For k = 1 use rloo: nothing is subtracted here.",
        edges="Wrong responses get 0, right ones k C(N-c, k-1) / C(N-1, k-1). A group drawn with fewer than k is refused.",
        estimator=partial(adv.pass_at_k_gradient, k=REQUIRED),
        binary=True,
    ),
    Method(
        name="ordergrad",
        title="OrderGrad: Optimizing Beyond the Mean with Order-Statistic Policy Gradient Estimation",
        arxiv="2606.06096",
        summary="The unbiased gradient of the expected best of k rewards, with the best of k others as the baseline.",
        formula="A = k (E[max of r and k - 1 of the others] - E[max of k of the others])",
        note="The expectations are over subsets of the other N - 1. For 0/1 rewards: k (1 - pass@k of the others) if "
        "right, k (pass@(k-1) - pass@k of the others) if wrong; this is pkpo less the baseline k (pass@k - pass@(k-1) "
        "of the others). k = 1 is rloo. The paper's other L-statistics (top m of k, quantiles, tails, trimmed means) "
        "are not here.",
        edges="Equal rewards get 0. A group drawn with k or fewer is refused; one that unscorable responses leave with k "
        "or fewer gets 0.",
        estimator=partial(adv.max_at_k_gradient, k=REQUIRED),
    ),
    Method(
        name="maxrl",
        title="Maximum Likelihood Reinforcement Learning",
        arxiv="2602.02710",
        summary="Divides by the mean instead of the std: hard prompts count more.",
        formula="A = (r - mean) / (mean + eps)",
        estimator=partial(adv.over_mean, eps=1e-6),
        binary=True,
    ),
    Method(
        name="f_grpo",
        title="F-GRPO: Don't Let Your Policy Learn the Obvious and Forget the Rare",
        arxiv="2602.06717",
        summary="GRPO's advantage, less the more of the group is right.",
        formula="A (1 - rho)^focal_exponent",
        note="The exponent was swept over 0.5, 1 and 2, and 0.5 chosen most often.",
        estimator=GRPO,
        reweighting=partial(rew.focal, focal_exponent=0.5),
        binary=True,
    ),
    Method(
        name="best_of_k",
        title="Optimizing Language Models for Inference Time Objectives using Reinforcement Learning",
        arxiv="2503.19595",
        summary="Only the best response of the group is rewarded, by its lead over the second.",
        formula="A = highest - second highest r for the best response, else 0",
        note="divide_by_std is on in verl's grpo_passk, off in the paper. Off, it is pkpo / N at k = N for 0/1 rewards.",
        edges="A tie at the top, and a group of one, get 0.",
        estimator=partial(adv.best_of_group, divide_by_std=False, eps=1e-6),
    ),
    Method(
        name="unlikeliness",
        title="Rewarding the Unlikely: Lifting GRPO Beyond Distribution Sharpening",
        arxiv="2506.02355",
        summary="A right response earns less the more likely it was within its group.",
        formula="r (1 - rank_penalty rank / N), rank 0..N-1 ascending in mean log pi_old; then grpo",
        note="Its runs: N 32, KL loss 0.1, 2 PPO epochs. Equally likely responses share the mean of their ranks.",
        edges="All right: the likelier get less than 0, the others more. All wrong, or a group of one: 0.",
        reward_transform=partial(rew.unlikely_rewards, rank_penalty=0.25),
        estimator=GRPO,
        binary=True,
        needs_old_logp=True,
    ),
    Method(
        name="ucpo",
        title="Uniform-Correct Policy Optimization: Breaking RLVR's Indifference to Diversity",
        arxiv="2605.00365",
        summary="Shares the advantage of right responses out in favour of unlikely ones.",
        formula="with at least 2 right: A [(1 - tau) + tau c (1 / q) / sum(1 / q)], q = softmax over the right ones of "
        "mean log pi_old",
        note="tau is 0.2 in the authors' scripts, 0.3 in the code's default; eps 1e-8.",
        estimator=partial(adv.standardised, eps=1e-8, ddof=1),
        reweighting=partial(rew.uniform_over_right, tau=0.2),
        binary=True,
        needs_old_logp=True,
    ),
    Method(
        name="ds_grpo",
        title="Differential Smoothing Mitigates Sharpening and Improves LLM Reasoning",
        arxiv="2511.19942",
        summary="Rewards unlikely right responses, and likely wrong ones.",
        formula="right: A - gamma_right l; wrong: A + gamma_wrong l; l = mean log pi_old; std with ddof 0",
        note="The paper's coefficients could not be found; the code of a shared author has 0.05 for both, another fork "
        "0.01. So neither has a default.",
        edges="A is 0 for a group of one or with equal rewards, the term in l remains.",
        estimator=partial(adv.standardised, eps=1e-6, ddof=0),
        reweighting=partial(rew.differential_smoothing, gamma_right=REQUIRED, gamma_wrong=REQUIRED),
        binary=True,
        needs_old_logp=True,
    ),
    Method(
        name="entropy_bonus",
        title="Asynchronous Methods for Deep Reinforcement Learning",
        arxiv="1602.01783",
        summary="GRPO with the policy's entropy as a further reward.",
        formula="loss - entropy_coef mean H, with gradient through H",
        note="0.01 is the baseline of SimKO's paper; F-GRPO's tuning chose 0.001.",
        estimator=GRPO,
        auxiliary=partial(tok.entropy_reward, entropy_coef=0.01),
        inert_zero_rows=False,
        metrics=("entropy", "ratio", "clipped"),
    ),
    Method(
        name="entropy_advantage",
        title="Reasoning with Exploration: An Entropy Perspective on Reinforcement Learning for LLMs",
        arxiv="2506.14758",
        summary="Tokens of high entropy get a larger advantage, for both signs.",
        formula="A + min(entropy_scale sg(H), |A| / kappa), token by token",
        note="H is the current policy's at each update. entropy_scale is 0.1 with PPO.",
        estimator=GRPO,
        token_links=(partial(tok.add_entropy_to_advantage, entropy_scale=0.4, kappa=2.0),),
        metrics=("bonus", "bonus_capped", "ratio", "clipped"),
    ),
    Method(
        name="forking_tokens",
        title="Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM "
        "Reasoning",
        arxiv="2506.01939",
        summary="Trains on the fifth of the batch's tokens with the largest entropy; the rest of DAPO stays.",
        formula="tokens: the ceil(top_share n) of largest H; clip_low 0.2, clip_high 0.28",
        note="Chosen over the update batch: its code chooses per micro-batch, so that the loss depends on packing. TRL's "
        "top_entropy_quantile divides by all tokens, which makes the loss about five times smaller.",
        estimator=GRPO,
        selection=partial(sel.top_entropy_tokens, top_share=0.2),
        token_mask=partial(tok.marked_tokens),
        surrogate=partial(sur.clip_ratio, clip_low=0.2, clip_high=0.28),
        inert_zero_rows=False,
        metrics=("kept", "ratio", "clipped"),
    ),
    Method(
        name="clip_cov",
        title=COV_TITLE,
        arxiv="2505.22617",
        summary="A few random tokens whose log-probability covaries strongly with the advantage lose their gradient.",
        formula="cov = (A - mean A) (log pi - mean log pi); no loss at int(cov_share n) random tokens with "
        "cov_low < cov < cov_high that PPO does not clip; n tokens in the denominator",
        note="The authors' scripts set both PPO clips to 1. In some settings no token qualifies: watch `marked`.",
        estimator=GRPO,
        selection=partial(
            sel.random_covariant_tokens, cov_share=2e-4, cov_low=1.0, cov_high=5.0, clip_low=1.0, clip_high=1.0
        ),
        token_mask=partial(tok.unmarked_tokens),
        surrogate=partial(sur.clip_ratio, clip_low=1.0, clip_high=1.0),
        inert_zero_rows=False,
        metrics=("marked", "ratio", "clipped"),
    ),
    Method(
        name="kl_cov",
        title=COV_TITLE,
        arxiv="2505.22617",
        summary="The tokens that covary most are held near the old policy; no clip at all.",
        formula="loss = -gamma A, + kl_coef |log pi - log pi_old| at the int(cov_share n) tokens of largest cov",
        note="cov_share is 0.002 for 7B, 0.0002 for 32B; verl has 0.0002 and kl_coef 0.1. On the first, on-policy update "
        "the term has no gradient: watch `log_ratio`.",
        estimator=GRPO,
        selection=partial(sel.top_covariant_tokens, cov_share=2e-3),
        surrogate=partial(sur.no_clip),
        auxiliary=partial(tok.log_ratio_penalty, kl_coef=1.0),
        inert_zero_rows=False,
        metrics=("marked", "log_ratio", "ratio"),
    ),
    Method(
        name="simko",
        title=SIMKO_TITLE,
        arxiv="2510.14807",
        summary="At uncertain tokens, right responses also raise the likeliest candidates, and wrong ones lower rank 1 further.",
        formula="log pi + alpha [A > 0] (gap - sg gap); log pi_old - [A < 0] [rank 1] log(top_penalty); both at tokens "
        "with H above gate_quantile of their response; gap = mean of the top K log pi_(n) - log pi",
        estimator=GRPO,
        token_links=(GATE, SPREAD, PENALISE),
        candidate_weights="uniform",
        top_k=3,
        needs_top1=True,
        metrics=("gated", "rank1", "gap", "penalised", "ratio", "clipped"),
    ),
    Method(
        name="simko_softmax",
        title=SIMKO_TITLE,
        arxiv="2510.14807",
        summary="SimKO with the candidates weighted by their probability.",
        formula="as simko, gap = sum_n w_n log pi_(n) - log pi, w_n = sg(p_n) / sum of the top K",
        estimator=GRPO,
        token_links=(GATE, SPREAD, PENALISE),
        candidate_weights="softmax",
        top_k=3,
        needs_top1=True,
        metrics=("gated", "rank1", "gap", "penalised", "ratio", "clipped"),
    ),
    Method(
        name="simko_reference",
        title=SIMKO_TITLE,
        arxiv="2510.14807",
        summary="SimKO as in its authors' code: the penalty multiplies the advantage and survives the clip.",
        formula="as simko, with top_penalty A in place of the term in log pi_old",
        note="Their token mean is taken per micro-batch and weighted by rows, so that it depends on packing; here it is "
        "the mean over all tokens.",
        estimator=GRPO,
        token_links=(GATE, SPREAD, partial(tok.penalise_advantage, top_penalty=1.1)),
        candidate_weights="uniform",
        top_k=3,
        needs_top1=True,
        metrics=("gated", "rank1", "gap", "penalised", "ratio", "clipped"),
    ),
    Method(
        name="simko_positive",
        title=SIMKO_TITLE,
        arxiv="2510.14807",
        summary="SimKO's positive part alone.",
        formula="as simko with top_penalty 1",
        estimator=GRPO,
        token_links=(GATE, SPREAD),
        candidate_weights="uniform",
        top_k=3,
        needs_top1=True,
        metrics=("gated", "rank1", "gap", "ratio", "clipped"),
    ),
    Method(
        name="simko_negative",
        title=SIMKO_TITLE,
        arxiv="2510.14807",
        summary="SimKO's negative part alone.",
        formula="as simko with alpha 0",
        estimator=GRPO,
        token_links=(GATE, PENALISE),
        needs_top1=True,
        metrics=("gated", "rank1", "penalised", "ratio", "clipped"),
    ),
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
