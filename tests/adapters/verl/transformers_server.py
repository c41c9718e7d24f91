"""verl_on_cpu's rollout server. A module of its own, which imports verl before anything else: a Ray process that began with
verl_on_cpu itself would load the plug-ins in the middle of it."""

import hashlib
from collections import Counter

import torch
from verl.workers.rollout.replica import TokenOutput


class Server:
    """Samples from a Transformers model, in a Ray actor of its own.

    Each draw has a seed of its own, made of the weights' step, the prompt and the number of its draws so far, so that
    the order in which requests arrive changes nothing.
    """

    def __init__(self, path, response_length):
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.end, self.response_length = self.model.config.eos_token_id, response_length
        self.step, self.draws = 0, Counter()

    async def generate(self, request_id, prompt_ids, sampling_params, **_):
        prompt, temperature = tuple(prompt_ids), sampling_params["temperature"]
        seed = hashlib.sha256(repr((self.step, prompt, self.draws[prompt])).encode()).digest()
        self.draws[prompt] += 1
        generator = torch.Generator().manual_seed(int.from_bytes(seed[:8], "big", signed=True))
        tokens, logps = [], []
        while len(tokens) < self.response_length and self.end not in tokens:
            with torch.no_grad():
                logits = self.model(torch.tensor([[*prompt, *tokens]])).logits[0, -1]
            logp = (logits / (temperature or 1)).log_softmax(-1)
            tokens.append(
                int(torch.multinomial(logp.exp(), 1, generator=generator) if temperature > 0 else logits.argmax())
            )
            logps.append(float(logp[tokens[-1]]))
        fields = {"global_steps": self.step}
        return TokenOutput(token_ids=tokens, log_probs=logps, stop_reason="completed", extra_fields=fields)

    async def load(self, weights, step):
        self.model.load_state_dict(weights, strict=False)  # tied weights come once
        self.step, self.draws = step or 0, Counter()

    async def noop(self, *_, **__):
        """For what only a server with a cache of its own has to do."""

    sleep = wake_up = abort_all_requests = resume_generation = noop
    clear_kv_cache = release_kv_cache = resume_kv_cache = noop
