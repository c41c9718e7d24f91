"""pass@K on held-out problems while a GRPO trainer trains, drawn through the trainer's own generation path.

Every process draws its share of the rows, as many at a time as a training rollout has, and all make the same collective
calls: one process alone would hang FSDP, ZeRO-3 and vLLM.
"""

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from transformers import Trainer, TrainerCallback
from trl import GRPOTrainer, is_conversational

from simko.adapters.trl.rewards import message_text
from simko.diagnostics import evaluating
from simko.evaluate import Curve, SampleStore, Setting, paired_difference, pass_at_k_curve
from simko.evaluate.run import digest
from simko.records import Problem, Sample, Verdict, VerifierLike
from simko.verifiers import VerifierError, grade_many, verifier_name

logger = logging.getLogger("simko")

_TASK = "held-out"
_Row = tuple[Problem, int]
_Kept = tuple[str, int, str, bool]


class PassAtKCallback(TrainerCallback):
    """Logs pass@1 ... pass@n on held-out problems before the first step, every `every` steps and after the last.

    trainer: any GRPOTrainer of TRL; problems: prompted as `problems_to_dataset` does, in chat form where the trainer's
    dataset is conversational; verifier: a name of `simko.verifiers`, or a callable; n: responses to a problem, at the
    trainer's temperature, top_p, top_k and max_completion_length; ks: default 1, 2, 4 ... up to n; store: a file of a
    SampleStore that keeps the samples, a setting a step. Samples that it holds of a step are used, not drawn again: a
    run that resumes from a checkpoint passes the same steps. A new run needs a new file; one of another output_dir,
    trainer, learning rate, seed or sampling setting is refused.

    Logged: eval_pass@K, eval_pass@K_low, eval_pass@K_high, the shares eval_truncated, eval_unparsed and eval_errors (the
    verifier's own: they count as not correct), and eval_passk_seconds.

    keep_best: a K of ks; the checkpoint of the evaluation whose pass@K is highest is written and outlives save_total_limit
    (state.best_model_checkpoint names it). stop: end the run where it is advised to. The advice is given where pass@K is
    below its best so far and pass@1 not above that evaluation's, both by the paired interval over the problems; K is
    keep_best, or the largest of ks of which n holds two draws. After a resume, it needs the store to know earlier steps.

    Draws are seeded by args.seed, the step, the problem and the index. Random states, metrics and module modes are put
    back, so that the run trains the same weights as one without, bit for bit. Two exceptions: a vLLM server draws from
    random numbers of its own, and a LoRA model is merged once more for vLLM where an evaluation falls inside a rollout.

    Add it with trainer.add_callback(PassAtKCallback(trainer, ...)), on every process.
    """

    def __init__(
        self,
        trainer: GRPOTrainer,
        problems: Iterable[Problem],
        verifier: VerifierLike,
        n: int,
        every: int,
        *,
        store: Path | None = None,
        ks: Sequence[int] | None = None,
        keep_best: int | None = None,
        stop: bool = False,
    ) -> None:
        if not isinstance(trainer, GRPOTrainer):
            raise ValueError(f"pass@K is drawn through a GRPOTrainer of TRL's, got {type(trainer).__name__}")
        self.problems = tuple(problems)
        if not self.problems or len({p.id for p in self.problems}) != len(self.problems):
            raise ValueError("give at least one held-out problem, and every problem an id of its own")
        if n < 1:
            raise ValueError(f"n is {n}: draw at least one response a problem")
        if every < 1:
            raise ValueError(f"every is {every}: give the number of steps between evaluations, at least 1")
        self.ks = tuple(2**i for i in range(n.bit_length())) if ks is None else tuple(ks)
        if not self.ks or not all(1 <= k <= n for k in self.ks):
            raise ValueError(f"ks are {self.ks}: give whole numbers from 1 to n={n}, or a larger n")
        if trainer.tools or trainer.environment_factories:
            raise ValueError("pass@K is measured on single responses: this trainer's tools or environments have turns")
        if keep_best is not None and keep_best not in self.ks:
            raise ValueError(f"keep_best is {keep_best}: choose one of ks {self.ks}")
        if keep_best is not None and trainer.args.save_strategy == "no":
            raise ValueError("keep_best keeps a checkpoint, and save_strategy is no: set it to steps or epoch")
        if keep_best is not None and trainer.args.save_total_limit == 1:
            raise ValueError("keep_best keeps a checkpoint beside the last one: set save_total_limit to 2 or more")
        self.keep_best, self.stop = keep_best, stop
        self._k = keep_best or max((k for k in self.ks if 2 * k <= n), default=max(self.ks))
        self._history: dict[int, dict[str, tuple[int, int]]] = {}  # of each step: of each problem n and correct
        self.trainer: Any = trainer
        self.verifier, self.n, self.every = verifier, n, every
        self.store = None if store is None else Path(store)
        dataset: Any = trainer.train_dataset
        self.chat = is_conversational(next(iter(dataset)))
        self._last: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate before the first step."""
        self._last = None
        if state.global_step == 0:
            self.evaluate()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate every `every` steps."""
        if state.global_step % self.every == 0 or control.should_training_stop:
            curve = self.evaluate()
            self._keep_the_best(curve, state, control)
            if self._advised() and self.stop:
                control.should_training_stop = control.should_save = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate after the last step, unless that was done."""
        if self._last != state.global_step and not args.load_best_model_at_end:  # else it is another step's model
            self.evaluate()

    def evaluate(self) -> Curve:
        """Evaluate the model as it is, log and return the curve. Every process must call it."""
        began = time.perf_counter()
        trainer, step = self.trainer, int(self.trainer.state.global_step)
        name = f"step={step}, T={trainer.args.temperature:g}"
        seen: list[tuple[str, str, bool]] = []  # problem id, outcome, whether truncated
        store_path = self.store if trainer.accelerator.is_main_process else None
        with SampleStore(store_path) if store_path else nullcontext() as store, training_untouched(trainer):
            setting, kept = self._begin(store, name)
            self._recall(store, step)
            seen += [(problem_id, outcome, truncated) for problem_id, _, outcome, truncated in kept]
            there = {(problem_id, index) for problem_id, index, *_ in kept}
            rows = [(p, i) for p in self.problems for i in range(self.n) if (p.id, i) not in there]
            for samples, verdicts in self._drawn(rows, name):
                if store is not None:
                    store.add(setting, samples, verdicts)
                seen += [(s.problem_id, v.outcome, s.truncated) for s, v in zip(samples, verdicts, strict=True)]
        correct = Counter(problem_id for problem_id, outcome, _ in seen if outcome == "correct")
        self._history[step] = {p.id: (self.n, correct[p.id]) for p in self.problems}
        curve = pass_at_k_curve(self._history[step], self.ks)
        outcomes = Counter(outcome for _, outcome, _ in seen)
        shares = {"truncated": sum(t for *_, t in seen), "unparsed": outcomes["unparsed"], "errors": outcomes["error"]}
        self._log(curve, {name: count / len(seen) for name, count in shares.items()}, time.perf_counter() - began)
        self._last = step
        return curve

    def _keep_the_best(self, curve: Curve, state: Any, control: Any) -> None:
        """Mark this step's model for Trainer, which keeps the checkpoint, where it is the best so far."""
        if self.keep_best is None:
            return
        value = curve.points[self.ks.index(self.keep_best)].estimate
        if state.best_metric is None or value > state.best_metric:
            state.best_metric, state.best_global_step, control.should_save = value, state.global_step, True

    def _recall(self, store: SampleStore | None, step: int) -> None:
        """What the store holds of earlier steps, whole ones alone."""
        found: list[Any] = [{}]
        for setting in () if store is None or self._history else store.settings():
            counts = store.counts(setting) if store is not None else {}
            if setting.record["step"] < step and {n for n, _ in counts.values()} == {self.n}:
                found[0][setting.record["step"]] = counts
        (recalled,) = broadcast_object_list(found)
        self._history = recalled | self._history

    def _advised(self) -> bool:
        """Whether to stop here: said on the main process."""
        now = max(self._history)
        earlier = [step for step in self._history if step < now]
        if not earlier:
            return False
        curves = {step: pass_at_k_curve(self._history[step], (self._k,)).points[0].estimate for step in earlier}
        best = max(earlier, key=curves.__getitem__)
        one, many = paired_difference(self._history[now], self._history[best], (1, self._k)).points
        if self._k == 1 or many.high >= 0 or one.low > 0:
            return False
        if self.trainer.accelerator.is_main_process:
            logger.warning(
                "step %d: pass@%d has fallen by %.3f (%.3f to %.3f) since step %d, and pass@1 has not risen (%+.3f, %+.3f to "
                "%+.3f): consider stopping here, with the checkpoint of step %d",
                now, self._k, -many.difference, -many.high, -many.low, best, one.difference, one.low, one.high, best,
            )  # fmt: skip
        return True

    def _begin(self, store: SampleStore | None, name: str) -> tuple[Any, list[_Kept]]:
        """The main process's setting, and of what the store holds: (problem id, index, outcome, truncated)."""
        setting, found = None, [[]]  # type: Setting | None, list[Any]
        if store is not None:
            try:
                setting, found[0] = self._kept(store, name)
            except (ValueError, OSError) as error:
                found[0] = error
        (kept,) = broadcast_object_list(found)
        if isinstance(kept, Exception):
            raise kept
        if kept and store is not None:
            logger.warning("%s: %d samples of %s are there already and used as they are", self.store, len(kept), name)
        return setting, kept

    def _kept(self, store: SampleStore, name: str) -> tuple[Setting, list[_Kept]]:
        judge = verifier_name(self.verifier)
        setting = store.begin(_TASK, name, self._record(), str(judge), self.problems, self.n)
        problems = {p.id: p for p in self.problems}
        for samples in store.ungraded(setting):
            verdicts = grade_many(self.verifier, [(s.response, problems[s.problem_id]) for s in samples])
            store.grade(setting, zip(samples, verdicts, strict=True))
        kept: list[_Kept] = [
            (sample.problem_id, sample.index, verdict.outcome, sample.truncated)
            for sample, verdict in store.rows(setting)
            if verdict is not None and sample.index < self.n
        ]
        return setting, kept

    def _record(self) -> dict[str, Any]:
        """What decides the draws, as JSON values."""
        trainer, args = self.trainer, self.trainer.args
        return {
            "backend": "trl+vllm" if trainer.use_vllm else "trl",
            "model": str(getattr(trainer.model.config, "_name_or_path", "")),
            "step": trainer.state.global_step,
            "trainer": type(trainer).__name__,
            "output_dir": str(args.output_dir),
            "learning_rate": args.learning_rate,
            "temperature": args.temperature,
            "top_p": args.top_p,
            "top_k": args.top_k,
            "min_p": args.min_p,
            "repetition_penalty": args.repetition_penalty,
            "max_new_tokens": trainer.max_completion_length,
            "chat": self.chat,
            "seed": args.seed,
            "problems": len(self.problems),
            "problems_sha256": digest(self.problems),
        }

    def _drawn(self, rows: Sequence[_Row], name: str) -> Iterator[tuple[list[Sample], list[Verdict]]]:
        """Samples of all processes with their verdicts, a batch of each process at a time, the same on all of them.

        Batch b of the rows is drawn by process b modulo their number, under the seed of its first row.
        """
        trainer, rank = self.trainer, self.trainer.accelerator.process_index
        processes = trainer.accelerator.num_processes
        size = int(trainer.args.generation_batch_size) // processes  # a training rollout's, which fits in memory
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        for first in range(0, len(batches), processes):
            shared = batches[first : first + processes]
            own = shared[rank] if rank < len(shared) else []
            leader = shared[min(rank - rank % self._drawing_as_one(), len(shared) - 1)]
            seed = _seed(trainer.args.seed, name, leader[0])
            padding = [shared[0][0]] * (len(shared[0]) - len(own))
            samples = self._generate([*own, *padding], seed)[: len(own)]
            yield self._graded(samples, [problem for problem, _ in own])

    def _drawing_as_one(self) -> int:
        """Neighbouring processes that must hold the same random state: those of one tensor-parallel vLLM engine."""
        trainer = self.trainer
        colocated = trainer.use_vllm and trainer.vllm_mode == "colocate"
        return int(trainer.args.vllm_tensor_parallel_size) if colocated else 1

    def _generate(self, rows: Sequence[_Row], seed: int) -> list[Sample]:
        """A response to each row, by the method from which TRL's rollouts and evaluations come."""
        trainer = self.trainer
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        trainer.model.eval()  # every time: continuous batching leaves the model in training mode
        prompts = [[{"role": "user", "content": p.prompt}] if self.chat else p.prompt for p, _ in rows]
        prompt_ids, token_ids, mask, completions, *_ = trainer._generate(prompts)
        ends = {*trainer.eos_token_ids, trainer._tokenizer.pad_token_id}
        heard = None if trainer.use_vllm and trainer.vllm_mode == "server" else seed
        samples = []
        for i, (problem, index) in enumerate(rows):
            text = message_text(completions[i])
            tokens = len(token_ids[i]) if mask is None else sum(mask[i])
            reason = "stop" if token_ids[i] and token_ids[i][-1] in ends else "length"
            samples.append(Sample(problem.id, index, text, int(tokens), reason, len(prompt_ids[i]), heard))  # type: ignore[arg-type]
        return samples

    def _graded(self, samples: list[Sample], problems: Sequence[Problem]) -> tuple[list[Sample], list[Verdict]]:
        """The samples of all processes, each graded where it was drawn. A grader that fails on one fails on all."""
        answers = [(s.response, p) for s, p in zip(samples, problems, strict=True)]
        graded: list[Any]
        try:
            graded = [(samples, grade_many(self.verifier, answers))]
        except Exception as error:  # the other processes wait for this one's verdicts
            known = isinstance(error, ValueError)
            graded = [error if known else VerifierError(f"the verifier raised {type(error).__name__}: {error}")]
        graded = gather_object(graded)
        for failed in graded:
            if isinstance(failed, Exception):
                raise failed
        return [s for some, _ in graded for s in some], [v for _, some in graded for v in some]

    def _log(self, curve: Curve, shares: dict[str, float], seconds: float) -> None:
        logs = {f"eval_{name}": share for name, share in shares.items()}
        for point in curve.points:
            logs[f"eval_pass@{point.k}"] = point.estimate
            logs[f"eval_pass@{point.k}_low"], logs[f"eval_pass@{point.k}_high"] = point.low, point.high
        logs["eval_passk_seconds"] = seconds
        due = self.trainer.control.should_log
        Trainer.log(self.trainer, logs)  # TRL's own would log and clear the training metrics gathered so far
        self.trainer.control.should_log = due  # which logging clears: the step's own log is still to come


@contextmanager
def training_untouched(trainer: Any) -> Iterator[None]:
    """What the trainer generates inside leaves no trace in the training that follows: Python's, NumPy's and torch's
    random states, metrics, token count, settings and module modes are put back. Inside, num_generations_eval is 1.

    vLLM's _last_loaded_step stays: the weights of this step are loaded then, and the next rollout need not do it again.
    """
    aside: dict[str, Any] = {
        "_metrics": {mode: defaultdict(list) for mode in trainer._metrics},
        "_pending_metrics": defaultdict(list),
        "_pending_extra_logs": defaultdict(list),
        "num_generations_eval": 1,  # a row is one prompt with one response, also to a vLLM server
    }
    kept = {name: getattr(trainer, name) for name in aside}
    python, legacy, tokens = random.getstate(), np.random.get_state(), trainer.state.num_input_tokens_seen
    device = trainer.accelerator.device
    devices = [] if device.type in ("cpu", "mps") else [device]
    random_states = torch.random.fork_rng(devices, device_type="cuda" if not devices else device.type)
    with evaluating(trainer.model), random_states:
        for name, value in aside.items():
            setattr(trainer, name, value)
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(trainer, name, value)
            random.setstate(python)
            np.random.set_state(legacy)
            trainer.state.num_input_tokens_seen = tokens


def _seed(run_seed: int, name: str, first: _Row) -> int:
    """The seed (63 bits) of a batch, by its first row."""
    problem, index = first
    return random.Random(f"{run_seed}\0{name}\0{problem.id}\0{index}").getrandbits(63)
