from collections.abc import Callable
from pathlib import Path

import pytest
import torch

WORDS = ["<unk>", "<end>", "<pad>", "\n", *"12+=,aens", " 1", " 2", "\\boxed{1}", "\\boxed{2}", "(A)", "(B)", "yes"]
WORDS += ["<answer>1</answer>", "<answer>2</answer>", "    return 1\n", "the answer is "]


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """speaker(seed): the checkpoint folder of an untrained one-layer Llama of float32.

    It takes any prompt, plain or in a chat template, as characters, those it does not know as one and the same; what it
    says are scraps of answers, so that every verifier finds some right, some wrong and some unreadable.
    """
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("speakers")
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<end>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = "{% for m in messages %}={{ m['content'] }}={% endfor %}"
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=2,
    )

    def make(seed: int) -> Path:
        folder = root / f"speaker{seed}"
        if not folder.is_dir():
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                LlamaForCausalLM(config).float().save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder

    return make
