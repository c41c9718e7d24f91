"""Tiny random models that speak printable characters, and servers."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from servers import Listening, Server, handler
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """One token a printable character, and one for "!\\n"."""
    characters = [chr(i) for i in range(32, 127)] + ["\n", "!\n"]
    vocabulary = {text: i for i, text in enumerate(["<pad>", "<end>", *characters])}
    fast = Tokenizer(BPE(vocabulary, []))
    fast.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", eos_token="<end>")
    made.chat_template = CHAT_TEMPLATE
    return made


@pytest.fixture(scope="session")
def tiny_model(tokenizer: Any) -> Callable[[str], Any]:
    """Makes a model of two layers of the family "qwen3" or "llama"."""

    def make(family: str) -> Any:
        torch.manual_seed(0)
        shape: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.3,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        }
        if family == "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=16)).eval()
        return LlamaForCausalLM(LlamaConfig(**shape)).eval()

    return make


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Any]) -> Any:
    return tiny_model("qwen3")


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers with the given traits, on real sockets."""
    running = []

    def start(**traits: Any) -> Server:
        server = Server(**traits)
        http = Listening(("127.0.0.1", 0), handler(server))
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away are no news
        server.url = f"http://127.0.0.1:{http.server_port}/v1"
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        running.append(http)
        return server

    yield start
    for http in running:
        http.shutdown()
        http.server_close()
