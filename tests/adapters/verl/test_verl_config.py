"""What a command of verl's with a row in it is refused for, and what is set for it."""

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import verl_on_cpu  # noqa: F401
from hydra import compose, initialize_config_module

from simko.adapters.verl import PolicyLoss, check_config
from simko.adapters.verl.check import prepare_config
from simko.adapters.verl_rows import LOSS_OPTIONS, plan_row
from simko.cli.engines import in_verl
from simko.objectives import METHODS

ACTOR, LOSS = "actor_rollout_ref.actor", "actor_rollout_ref.actor.policy_loss"
GRPO = [
    "algorithm.adv_estimator=grpo",
    f"{ACTOR}.strategy=fsdp2",
    "actor_rollout_ref.rollout.n=8",
    "data.max_response_length=20",
]


def simko(row, **options):
    named = [f"{LOSS}._target_=simko.adapters.verl.PolicyLoss", f"{LOSS}.loss_mode=simko/{row}"]
    return ["trainer.v1.trainer_mode=simko", *named, *(f"+{LOSS}.{name}={value}" for name, value in options.items())]


REQUIRED = {"ds_grpo": {"gamma_right": 0.1, "gamma_wrong": 0.1}} | {
    name: {"k": 4} for name in ("passk_training", "pkpo", "ordergrad")
}


def composed(*overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", [*GRPO, *overrides])


@pytest.mark.parametrize("row", METHODS)
def test_every_row_has_its_way(row):
    config = composed(*simko(row, **REQUIRED.get(row, {})))
    plan = check_config(config)
    prepare_config(config)
    assert config.trainer.v1.trainer_mode == "sync"
    assert config.actor_rollout_ref.actor.clip_ratio_c > 1e9
    assert config.algorithm.adv_estimator == (f"simko/{row}" if plan.own_advantages else "grpo")
    prepared = PolicyLoss(
        **{k: v for k, v in config.actor_rollout_ref.actor.policy_loss.items() if k != "rollout_correction"}
    )
    assert prepared.method().options.get("length", 20) == 20


@pytest.mark.parametrize("row", [row for row in METHODS if plan_row(METHODS[row]).by_advantage])
def test_rows_by_advantage_need_no_trainer_of_ours(row):
    options = [f"+algorithm.simko.{name}={value}" for name, value in REQUIRED.get(row, {}).items()]
    assert check_config(composed(f"algorithm.adv_estimator=simko/{row}", *options)).by_advantage


@pytest.mark.parametrize("row", METHODS)
def test_the_table_of_methods_says_how_verl_trains_it(row):
    """docs/methods.md and simko methods."""
    word, config = in_verl(METHODS[row]).word, composed(*simko(row, **REQUIRED.get(row, {})))
    plan = check_config(config)
    before = config.copy()
    prepare_config(config)
    sets = {
        name for name in LOSS_OPTIONS if config.actor_rollout_ref.actor[name] != before.actor_rollout_ref.actor[name]
    }
    kinds = {
        "own loss": plan.own_loss,
        "by link": plan.links and not plan.own_advantages,
        "by advantage and link": plan.links and plan.own_advantages,
        "by options": not (plan.links or plan.own_loss or plan.own_advantages),
        "by adv_estimator": plan.by_advantage,
        "by advantage": plan.own_advantages and METHODS[row].needs_old_logp,
    }
    assert [name for name, holds in kinds.items() if holds] == [word]
    assert sets - {"clip_ratio_c"} == ({"clip_ratio_high"} if row == "dapo" else set())


def test_plain_verl_is_left_alone():
    assert check_config(composed()) is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([*simko("simko")[1:]], "set trainer.v1.trainer_mode=simko"),
        ([*simko("simko"), "trainer.use_v1=False"], "set trainer.v1.trainer_mode=simko"),
        (["trainer.v1.trainer_mode=simko"], "policy_loss.loss_mode=simko/simko"),
        (["trainer.v1.trainer_mode=simko", f"{LOSS}.loss_mode=simko/simko"], "_target_=simko.adapters.verl.PolicyLoss"),
        (simko("simkoo"), "'simko/simkoo' names no method"),
        (simko("simko", alhpa=0.1), "simko has no option 'alhpa'"),
        (simko("simko", alpha=2), "alpha"),
        (simko("pkpo"), f"add +{LOSS}.k=..."),
        (simko("pkpo", k=9), "actor_rollout_ref.rollout.n=8 does not fit pkpo"),
        ([*simko("pkpo", k=4), "algorithm.adv_estimator=rloo"], "set algorithm.adv_estimator=grpo"),
        ([*simko("gspo"), "algorithm.adv_estimator=reinforce_plus_plus"], "set algorithm.adv_estimator=grpo"),
        (
            [*simko("rloo"), "algorithm.norm_adv_by_std_in_grpo=False"],
            "norm_adv_by_std_in_grpo=False makes other advantages",
        ),
        ([*simko("simko"), "algorithm.adv_estimator=gae"], "set algorithm.adv_estimator=grpo"),
        (
            [*simko("simko"), "algorithm.rollout_correction.bypass_mode=True"],
            "bypass_mode=True replaces the policy loss",
        ),
        (
            [*simko("simko"), "actor_rollout_ref.model.use_fused_kernels=True"],
            "use_fused_kernels=True gives simko no logits",
        ),
        ([*simko("simko"), f"{ACTOR}.strategy=veomni"], "strategy=veomni gives simko no logits"),
        ([*simko("simko"), f"++{ACTOR}.fsdp_config.pad_to_length=True"], "pad_to_length=True gives simko no logits"),
        ([*simko("simko"), f"++{ACTOR}.use_fused_kernels=True"], "use_fused_kernels=True gives simko no logits"),
        ([*simko("simko"), f"++{ACTOR}.use_prefix_grouper=True"], "use_prefix_grouper=True gives simko no logits"),
        ([*simko("simko"), "actor_rollout_ref.rollout.n=1"], "makes groups of one"),
        ([*simko("simko"), "algorithm.adv_estimator=rloo"], "set algorithm.adv_estimator=grpo"),
        (
            [*simko("grpo"), "algorithm.norm_adv_by_std_in_grpo=False"],
            "norm_adv_by_std_in_grpo=False makes other advantages",
        ),
        ([*simko("f_grpo"), "+algorithm.simko.focal_exponent=2"], "give the options of f_grpo in"),
        ([*simko("clip_cov"), f"{LOSS}.clip_cov_ratio=0.02"], "clip_cov_ratio is an option of verl's own losses"),
        ([*simko("kl_cov"), f"{LOSS}.ppo_kl_coef=1.0"], "ppo_kl_coef is an option of verl's own losses"),
        (simko("simko", dual_clip=0.5), "dual_clip must be a number above 1"),
        (simko("simko", dual_clip="abc"), "dual_clip must be a number above 1"),
        (
            ["algorithm.adv_estimator=simko/rloo", f"{LOSS}.loss_mode=gspo"],
            "set actor_rollout_ref.actor.policy_loss.loss_mode=vanilla",
        ),
        (["algorithm.adv_estimator=simko/rloo", "algorithm.rollout_correction.bypass_mode=True"], "bypass_mode=False"),
        ([*simko("simko"), "distillation.enabled=True"], "set distillation.enabled=False"),
        ([*simko("simko"), f"{ACTOR}.clip_ratio_c=5.0"], "dual_clip=5.0"),
        ([*simko("dapo"), f"{ACTOR}.clip_ratio_high=0.25"], "clip_ratio_high=0.25, but dapo sets it to 0.28"),
        ([*simko("gspo"), f"{ACTOR}.loss_agg_mode=seq-mean-token-sum"], "gspo has a loss of its own"),
        ([*simko("gspo"), f"{ACTOR}.clip_ratio_low=0.1"], "gspo has a loss of its own"),
        (simko("gspo", dual_clip=3.0), "leave dual_clip out"),
        ([*simko("gspo"), "algorithm.rollout_correction.rollout_is=token"], "rollout_is=null"),
        ([*simko("psr"), "algorithm.use_kl_in_reward=True"], "use_kl_in_reward"),
        (["algorithm.adv_estimator=simko/psr"], "set trainer.v1.trainer_mode=simko"),
        (["algorithm.adv_estimator=simko/ucpo"], "set trainer.v1.trainer_mode=simko"),
        (["algorithm.adv_estimator=simko/pkpo"], "add +algorithm.simko.k=..."),
        (["algorithm.adv_estimator=simko/pkpo", "+algorithm.simko.k=4", "+algorithm.simko.kk=4"], "no option 'kk'"),
        (["algorithm.adv_estimator=simko/nothing"], "names no method"),
    ],
)
def test_what_would_train_something_else_is_refused(overrides, said):
    with pytest.raises(ValueError, match=r".") as refused:
        check_config(composed(*overrides))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_users_loss_stays_around_token_links():
    config = composed(
        *simko("simko", dual_clip=4.0), f"{ACTOR}.clip_ratio_high=0.28", f"{ACTOR}.loss_agg_mode=seq-mean-token-mean"
    )
    prepare_config(config)
    actor = config.actor_rollout_ref.actor
    assert (actor.clip_ratio_high, actor.loss_agg_mode, actor.clip_ratio_c) == (0.28, "seq-mean-token-mean", 4.0)
