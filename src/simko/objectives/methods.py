"""The table of methods. A row names the links in which a method differs from GRPO.

Notation of the formulas: r is a reward; a prompt has N responses, c of them correct, rho = c / N; A is the advantage;
gamma is a token's ratio exp(log pi - log pi_old), H its entropy; sg is stop-gradient; clip is to
[1 - clip_low, 1 + clip_high]. Unless a row says otherwise, A is as in grpo, the loss is the mean over tokens of
-min(gamma A, clip(gamma) A), and there is no KL term.

An option for which no source gives a value is REQUIRED. Method (method.py) says how to call a row and how to set options.
"""

from functools import partial

from simko.objectives import advantages as adv
from simko.objectives import controllers as con
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
HOLD_RANK1 = partial(con.hold_rank1, alpha=0.02, top_penalty=1.1, alpha_rate=1.0, alpha_max=0.2)

WEIGHT_TITLE = "The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning"
COV_TITLE = "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models"
SIMKO = partial(
    Method,
    title="SimKO: Simple Pass@K Policy Optimization",
    arxiv="2510.14807",
    estimator=GRPO,
    candidate_weights="uniform",
    top_k=3,
    needs_top1=True,
    metrics=("gated", "rank1", "gap", "penalised", "ratio", "clipped"),
)

_ROWS = (
    Method(
        name="grpo",
        title="DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        arxiv="2402.03300",
        summary="Rewards standardised within the group, with a clipped ratio: the method that the others start from.",
        formula="A = (r - mean) / (std + eps), std with ddof 1",
        note="eps is 1e-6 in verl and 1e-4 in TRL. The paper averages over each response first. Here the mean is over all "
        "tokens, as it is by default in verl and TRL.",
        estimator=GRPO,
    ),
    Method(
        name="dr_grpo",
        title="Understanding R1-Zero-Like Training: A Critical Perspective",
        arxiv="2503.20783",
        summary="No division by the std. The loss of a response is divided by a constant length instead of its own.",
        formula="A = r - mean; loss = sum over tokens / (rows x length)",
        note="length is the maximum response length of the run (3,000 in the authors' code). None stands for the width of "
        "the batch, so that the loss then depends on padding.",
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
        note="Not part of the row: resampling of groups with a single outcome, which is the trainer's task, and the "
        "penalty on overlong responses, which is the reward's.",
        estimator=GRPO,
        surrogate=partial(sur.clip_ratio, clip_low=0.2, clip_high=0.28),
    ),
    Method(
        name="gspo",
        title="Group Sequence Policy Optimization",
        arxiv="2507.18071",
        summary="A response has one ratio, which is clipped as a whole.",
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
        summary="The ratio is a capped weight without gradient, so that every token keeps its gradient.",
        formula="loss = -sg(min(gamma, ratio_cap)) A log pi",
        note="ratio_cap is the cap itself, as in TRL, which advises 5. verl and F-GRPO cap at 1 + clip_high. There is no "
        "lower clip.",
        estimator=GRPO,
        surrogate=partial(sur.cap_weight, ratio_cap=5.0),
    ),
    Method(
        name="psr",
        title=WEIGHT_TITLE,
        arxiv="2506.01347",
        summary="Trains on correct responses only.",
        formula="A = 1 if correct; incorrect responses count neither in the loss nor in its denominator",
        note="No entropy bonus and no KL term here; the authors' scripts leave on an entropy bonus of 0.001.",
        edges="The group does not matter: 1 if correct, else 0 and left out.",
        estimator=partial(adv.signs, right=1.0, wrong=0.0),
        token_mask=partial(tok.rows_with_advantage),
        binary=True,
        metrics=("kept", "ratio", "clipped"),
    ),
    Method(
        name="nsr",
        title=WEIGHT_TITLE,
        arxiv="2506.01347",
        summary="Trains on incorrect responses only.",
        formula="A = -1 if incorrect; correct responses count neither in the loss nor in its denominator",
        note="No entropy bonus and no KL term here; the authors' scripts leave on an entropy bonus of 0.001.",
        edges="The group does not matter: -1 if incorrect, else 0 and left out.",
        estimator=partial(adv.signs, right=0.0, wrong=-1.0),
        token_mask=partial(tok.rows_with_advantage),
        binary=True,
        metrics=("kept", "ratio", "clipped"),
    ),
    Method(
        name="w_reinforce",
        title=WEIGHT_TITLE,
        arxiv="2506.01347",
        summary="Incorrect responses have full weight, correct ones a tenth. There is no baseline.",
        formula="A = positive_weight if correct, -1 if incorrect",
        edges="The group does not matter: positive_weight if correct, -1 if incorrect.",
        estimator=partial(adv.weighted_signs, positive_weight=0.1),
        binary=True,
    ),
    Method(
        name="passk_training",
        title="Pass@k Training for Adaptively Balancing Exploration and Exploitation of Large Reasoning Models",
        arxiv="2508.10751",
        summary="The mean GRPO advantage of the k-subsets that hold a response. A subset is correct if any member is.",
        formula="R = 1 - C(N-c, k) / C(N, k); s = sqrt(R (1 - R)) + eps; correct: (1 - R) / s; "
        "incorrect: (1 - R - C(N-c-1, k-1) / C(N-1, k-1)) / s",
        note="k = 1 is GRPO with ddof 0. At k = N every advantage is 0.",
        edges="A group with no correct response gets 0, and so does one with fewer than k incorrect ones. A group drawn with "
        "fewer than k responses is refused.",
        estimator=partial(adv.subset_advantages, k=REQUIRED, eps=1e-6),
        binary=True,
    ),
    Method(
        name="pkpo",
        title="Pass@K Policy Optimization: Solving Harder Reinforcement Learning Problems",
        arxiv="2505.15201",
        summary="The unbiased gradient of pass@k, in the paper's estimator of least variance.",
        formula="A = k (1 - pass@(k-1) of the other N - 1) if correct, 0 if incorrect",
        note="A is N times the paper's transform, because the paper sums over the group and the loss here is a mean. A "
        "leave-one-out baseline on top would bias the gradient. At k = 1 nothing is subtracted: use rloo.",
        edges="Incorrect responses get 0, correct ones k C(N-c, k-1) / C(N-1, k-1). A group drawn with fewer than k responses "
        "is refused.",
        estimator=partial(adv.pass_at_k_gradient, k=REQUIRED),
        binary=True,
    ),
    Method(
        name="ordergrad",
        title="OrderGrad: Optimizing Beyond the Mean with Order-Statistic Policy Gradient Estimation",
        arxiv="2606.06096",
        summary="The unbiased gradient of the expected best of k rewards, with the best of k others as the baseline.",
        formula="A = k (E[max of r and k - 1 of the others] - E[max of k of the others])",
        note="The expectations are over subsets of the other N - 1 responses. For 0/1 rewards A is k (1 - pass@k of the "
        "others) if correct, and k (pass@(k-1) - pass@k) of the others if incorrect. This is pkpo's A minus the baseline "
        "k (pass@k - pass@(k-1)) of the others. k = 1 is rloo. The maximum is one of the paper's L-statistics; the "
        "others, such as the mean of the top m, quantiles and trimmed means, are not available.",
        edges="Equal rewards get 0. A group drawn with k responses or fewer is refused.",
        estimator=partial(adv.max_at_k_gradient, k=REQUIRED),
    ),
    Method(
        name="maxrl",
        title="Maximum Likelihood Reinforcement Learning",
        arxiv="2602.02710",
        summary="Divides by the mean instead of the std, so that hard prompts count more.",
        formula="A = (r - mean) / (mean + eps)",
        estimator=partial(adv.over_mean, eps=1e-6),
        binary=True,
    ),
    Method(
        name="f_grpo",
        title="F-GRPO: Don't Let Your Policy Learn the Obvious and Forget the Rare",
        arxiv="2602.06717",
        summary="GRPO's advantage, reduced the more responses of the group are correct.",
        formula="A (1 - rho)^focal_exponent",
        note="The authors tried exponents 0.5, 1 and 2, and chose 0.5 most often.",
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
        note="divide_by_std is True in verl's grpo_passk, and False in the paper. If False, A is that of pkpo at k = N, "
        "divided by N, for 0/1 rewards.",
        edges="A tie for the best gives 0, and so does a group of one.",
        estimator=partial(adv.best_of_group, divide_by_std=False, eps=1e-6),
    ),
    Method(
        name="unlikeliness",
        title="Rewarding the Unlikely: Lifting GRPO Beyond Distribution Sharpening",
        arxiv="2506.02355",
        summary="A correct response earns less the more likely it was within its group.",
        formula="r (1 - rank_penalty rank / N), rank 0..N-1 ascending in mean log pi_old; then grpo",
        note="The paper's runs have N = 32, a KL loss of 0.1 and 2 PPO epochs. Equally likely responses get the mean of "
        "their ranks.",
        edges="If all responses are correct, the likelier ones get less than 0 and the others more. If none is, or in a group "
        "of one, A is 0.",
        reward_transform=partial(rew.unlikely_rewards, rank_penalty=0.25),
        estimator=GRPO,
        binary=True,
        needs_old_logp=True,
    ),
    Method(
        name="ucpo",
        title="Uniform-Correct Policy Optimization: Breaking RLVR's Indifference to Diversity",
        arxiv="2605.00365",
        summary="Shifts the advantage of correct responses towards unlikely ones.",
        formula="with at least 2 correct: A [(1 - tau) + tau c (1 / q) / sum(1 / q)], q = softmax over the correct ones of "
        "mean log pi_old",
        note="tau is 0.2 in the authors' scripts, and 0.3 by default in their code. eps is 1e-8.",
        estimator=partial(adv.standardised, eps=1e-8, ddof=1),
        reweighting=partial(rew.uniform_over_right, tau=0.2),
        binary=True,
        needs_old_logp=True,
    ),
    Method(
        name="ds_grpo",
        title="Differential Smoothing Mitigates Sharpening and Improves LLM Reasoning",
        arxiv="2511.19942",
        summary="Rewards correct responses that were unlikely, and incorrect ones that were likely.",
        formula="correct: A - gamma_right l; incorrect: A + gamma_wrong l; l = mean log pi_old; std with ddof 0",
        note="We did not find the paper's coefficients. Code of one of its authors has 0.05 for both, another fork 0.01. So "
        "neither has a default.",
        edges="For a group of one, or with equal rewards, GRPO's part is 0. The term in l remains.",
        estimator=partial(adv.standardised, eps=1e-6, ddof=0),
        reweighting=partial(rew.differential_smoothing, gamma_right=REQUIRED, gamma_wrong=REQUIRED),
        binary=True,
        needs_old_logp=True,
    ),
    Method(
        name="entropy_bonus",
        title="Asynchronous Methods for Deep Reinforcement Learning",
        arxiv="1602.01783",
        summary="GRPO with an additional reward for the policy's entropy.",
        formula="loss - entropy_coef mean H, with gradient through H",
        note="SimKO's paper has a baseline with 0.01. F-GRPO's authors tuned it to 0.001.",
        estimator=GRPO,
        auxiliary=partial(tok.entropy_reward, entropy_coef=0.01),
        inert_zero_rows=False,
        metrics=("entropy", "ratio", "clipped"),
    ),
    Method(
        name="entropy_advantage",
        title="Reasoning with Exploration: An Entropy Perspective on Reinforcement Learning for LLMs",
        arxiv="2506.14758",
        summary="Adds to a token's advantage by its entropy, whatever the sign of the advantage.",
        formula="A + min(entropy_scale sg(H), |A| / kappa), token by token",
        note="H is the current policy's at each update. The paper uses entropy_scale 0.1 with PPO.",
        estimator=GRPO,
        token_links=(partial(tok.add_entropy_to_advantage, entropy_scale=0.4, kappa=2.0),),
        metrics=("bonus", "bonus_capped", "ratio", "clipped"),
    ),
    Method(
        name="forking_tokens",
        title="Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM "
        "Reasoning",
        arxiv="2506.01939",
        summary="DAPO on the fifth of the batch's tokens with the largest entropy.",
        formula="tokens: the ceil(top_share n) of largest H; clip_low 0.2, clip_high 0.28",
        note="The tokens are chosen over the update batch. The authors' code chooses them per micro-batch, so that the "
        "loss depends on packing. TRL's top_entropy_quantile divides by all tokens, so that its loss is about five times "
        "smaller.",
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
        summary="A few random tokens whose log-probability covaries strongly with the advantage get no gradient.",
        formula="cov = (A - mean A) (log pi - mean log pi); no loss at int(cov_share n) random tokens with "
        "cov_low < cov < cov_high that PPO does not clip; n tokens in the denominator",
        note="The authors' scripts set both PPO clips to 1. In some settings no token is eligible: watch the metric "
        "`marked`.",
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
        summary="Penalises how far the tokens that covary most move from the old policy. There is no clip.",
        formula="loss = -gamma A, + kl_coef |log pi - log pi_old| at the int(cov_share n) tokens of largest cov",
        note="cov_share is 0.002 for 7B and 0.0002 for 32B. verl has 0.0002, and kl_coef 0.1. On the first, on-policy "
        "update the term has no gradient: watch the metric `log_ratio`.",
        estimator=GRPO,
        selection=partial(sel.top_covariant_tokens, cov_share=2e-3),
        surrogate=partial(sur.no_clip),
        auxiliary=partial(tok.log_ratio_penalty, kl_coef=1.0),
        inert_zero_rows=False,
        metrics=("marked", "log_ratio", "ratio"),
    ),
    SIMKO(
        name="simko",
        summary="At uncertain tokens, correct responses also raise the likeliest candidates, and incorrect ones lower rank 1 "
        "further.",
        formula="log pi + alpha [A > 0] (gap - sg gap); log pi_old - [A < 0] [rank 1] log(top_penalty); both at tokens "
        "with H above gate_quantile of their response; gap = mean of the top K log pi_(n) - log pi",
        token_links=(GATE, SPREAD, PENALISE),
    ),
    SIMKO(
        name="simko_softmax",
        summary="SimKO with each candidate weighted by its probability.",
        formula="as simko, gap = sum_n w_n log pi_(n) - log pi, w_n = sg(p_n) / sum of the top K",
        token_links=(GATE, SPREAD, PENALISE),
        candidate_weights="softmax",
    ),
    SIMKO(
        name="simko_reference",
        summary="SimKO as in its authors' code: the penalty multiplies the advantage, so that the clip does not undo it.",
        formula="as simko, with top_penalty A in place of the term in log pi_old",
        note="The authors take the mean over the tokens of a micro-batch and weight it by rows, so that it depends on "
        "packing. Here it is the mean over all tokens.",
        token_links=(GATE, SPREAD, partial(tok.penalise_advantage, top_penalty=1.1)),
    ),
    SIMKO(
        name="simko_positive",
        summary="The positive part of SimKO alone.",
        formula="as simko with top_penalty 1",
        token_links=(GATE, SPREAD),
        metrics=("gated", "rank1", "gap", "ratio", "clipped"),
    ),
    SIMKO(
        name="simko_negative",
        summary="The negative part of SimKO alone.",
        formula="as simko with alpha 0",
        token_links=(GATE, PENALISE),
        candidate_weights=None,
        top_k=None,
        metrics=("gated", "rank1", "penalised", "ratio", "clipped"),
    ),
    SIMKO(
        name="simko_adaptive",
        summary="SimKO that sets alpha and lambda itself: rank 1 at uncertain tokens is to stay as likely as in the base model.",
        formula="as simko; after each update alpha <- alpha exp(alpha_rate (rank1 - base)), in [0.001, alpha_max], and lambda - 1 "
        "by the same factor",
        note="A proposal of this package, not of the paper. rank1 is the share of rank 1 among the gated tokens of responses with "
        "an advantage, which are drawn from the policy. base is its mean over the first 5 updates that the controller sees "
        "(after grpo_warmup_steps): start from the base model. alpha and top_penalty are those of these updates; their ratio, lambda "
        "= 1 + 5 alpha, is that of alpha 0.1 and lambda 1.5.",
        token_links=(GATE, partial(tok.spread_over_candidates, alpha=0.02), PENALISE),
        controller=HOLD_RANK1,
    ),
    SIMKO(
        name="simko_by_success",
        summary="SimKO with an alpha that grows with the group's share of correct responses: what is solved is spread, what is "
        "rare is sharpened.",
        formula="as simko with alpha / (1 + A^2) in place of alpha, which is alpha rho / (1 - (1 - rho) / N) for rewards of 1 "
        "and 0",
        note="A proposal of this package, not of the paper. alpha is that of a group in which nearly all are correct. The "
        "default makes it 0.1 where half are, with the lambda that goes with it in simko_adaptive.",
        token_links=(GATE, partial(tok.spread_by_success, alpha=0.2), partial(tok.penalise_ratio, top_penalty=1.5)),
    ),
    SIMKO(
        name="simko_adaptive_by_success",
        summary="simko_by_success with the controller of simko_adaptive.",
        formula="as simko_by_success; alpha and lambda move as in simko_adaptive",
        note="A proposal of this package, not of the paper.",
        token_links=(GATE, partial(tok.spread_by_success, alpha=0.02), PENALISE),
        controller=HOLD_RANK1,
    ),
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
"""{name: `Method`}: every method, as a row of links with its paper's defaults."""
