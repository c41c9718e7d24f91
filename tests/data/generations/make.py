"""Makes the logs of lighteval, lm-evaluation-harness and inspect_ai in this folder again, with an untrained model.

    python -m venv /tmp/foreign && /tmp/foreign/bin/pip install torch==2.13.0
    /tmp/foreign/bin/pip install lighteval==0.13.0 lm-eval==0.4.13 inspect-ai==0.3.285 accelerate xxhash==3.5.0
    /tmp/foreign/bin/python tests/data/generations/make.py

It needs no network and a minute. verl's dumps are made as README.md says.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SUMS = [("1+0=", "1"), ("1+1=", "2"), ("0+2=", "2")]
WORDS = ["<unk>", "<end>", "<pad>", "\n", *"12+=,aens", " 1", " 2", "\\boxed{1}", "\\boxed{2}", "(A)", "(B)", "yes"]
WORDS += ["<answer>1</answer>", "<answer>2</answer>", "    return 1\n", "the answer is "]

LM_EVAL = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums/test.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
repeats: 4
generation_kwargs: {do_sample: true, temperature: 1.0, top_p: 0.95, until: ["\\n"], max_gen_toks: 6}
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: maj, filter: [{function: take_first_k, k: 4}, {function: majority_vote}, {function: take_first}]}
metric_list: [{metric: exact_match}]
"""

LIGHTEVAL = """
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

def prompt(line, task_name=None):
    return Doc(task_name=task_name, query=line["question"], choices=[line["answer"]], gold_index=0)

TASKS_TABLE = [LightevalTaskConfig(
    name="sums", prompt_function=prompt, hf_repo="sums", hf_subset="default", hf_avail_splits=["test"],
    evaluation_splits=["test"], few_shots_split=None, few_shots_select=None, generation_size=6,
    metrics=[Metrics.pass_at_k(sample_params={"k": 1, "n": 4})], stop_sequence=["\\n"], version=0,
)]
"""

RUN_LIGHTEVAL = """
import pathlib, lighteval
from huggingface_hub import HfApi
HfApi.list_models = lambda self, **_: ["a judge"]  # it looks up models of tasks that are not run
folder = pathlib.Path(lighteval.__file__).parent / "tasks" / "tasks"
(folder / "tinyBenchmarks.pkl").touch()  # and fetches a file of one of them
from lighteval.__main__ import app
app()
"""

INSPECT = """
from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes

@task
def sums():
    rows = [Sample(id=i, input=prompt, target=gold) for i, (prompt, gold) in enumerate({SUMS}, 1)]
    config = GenerateConfig(max_tokens=6, temperature=1.0, top_p=0.95)
    return Task(dataset=MemoryDataset(rows, name="sums"), scorer=includes(), epochs=Epochs({epochs}, "mean"), config=config)
"""


def make_model(folder: Path) -> None:
    import torch
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    marks = {"eos_token": "<end>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **marks)
    tokenizer.chat_template = "{% for m in messages %}={{ m['content'] }}={% endfor %}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"vocab_size": len(WORDS), "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=4096, initializer_range=0.3, **sizes, **ids)).float()
    model.generation_config.do_sample = True
    model.save_pretrained(folder)


def run(folder: Path, *words: str) -> None:
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    subprocess.run(words, cwd=folder, env=os.environ | quiet, check=True, stdout=subprocess.DEVNULL)


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def main() -> None:
    scripts = Path(sys.executable).parent
    folder = Path(tempfile.mkdtemp())
    make_model(folder / "tiny")
    (folder / "sums").mkdir()
    rows = (json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in SUMS)
    (folder / "sums" / "test.jsonl").write_text("".join(rows))

    (folder / "tasks").mkdir()
    (folder / "tasks" / "sums.yaml").write_text(LM_EVAL)
    lm_eval = "run --model hf --model_args pretrained=tiny,dtype=float32 --tasks sums --include_path tasks --device cpu"
    run(folder, str(scripts / "lm_eval"), *lm_eval.split(), "--output_path", "lm_eval", "--log_samples")
    shutil.copy(only(folder / "lm_eval", "samples_*.jsonl"), HERE)

    (folder / "task.py").write_text(LIGHTEVAL)
    model = "model_name=tiny,dtype=float32,batch_size=1,generation_parameters={temperature:1.0,top_p:0.95,seed:3}"
    light = ["accelerate", model, "sums|0", "--custom-tasks", "task.py", "--output-dir", "lighteval", "--save-details"]
    run(folder, sys.executable, "-c", RUN_LIGHTEVAL, *light)
    shutil.copy(only(folder / "lighteval", "*.parquet"), HERE / "lighteval_details_sums.parquet")

    for form, epochs in (("eval", 4), ("json", 2)):
        (folder / "task.py").write_text(INSPECT.replace("{SUMS}", repr(SUMS)).replace("{epochs}", str(epochs)))
        options = ["--model", "hf/tiny", "-M", "model_path=tiny", "-M", "device=cpu", "--display", "none"]
        run(folder, str(scripts / "inspect"), "eval", "task.py", *options, "--log-format", form, "--log-dir", form)
    shutil.copy(only(folder / "eval", "*.eval"), HERE / "inspect_sums.eval")
    log = only(folder / "json", "*.json").read_bytes()
    (HERE / "inspect_sums.json.gz").write_bytes(gzip.compress(log, mtime=0))  # a sample's events take 5 kB
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
