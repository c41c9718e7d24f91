"""The logs of inspect_ai: .eval, a ZIP archive of JSON files, and .json, one object."""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from simko.generations.flat import gold_text, message_text, prompt_text
from simko.generations.harnesses import exported_draw
from simko.generations.rows import Response, Row, draws, finish_reason, reading, whole_number

_ZSTANDARD = 93
ATTACHED = "attachment://"
"""What a text begins with that stands elsewhere in its sample."""
_HEADERS = ("header.json", "_journal/start.json")
"""The second is there in the log of an evaluation that was killed."""

_WORDS = 300
_LARGEST_MEMBER = 1 << 30

Log = Mapping[str, Any]


def inspect_rows(path: Path) -> Iterator[Row]:
    """The rows of a log, one per sample, in the order of its data set and epochs.

    A sample that ended in an error is a failed response. ValueError for a file that is no log, and for a problem of the data set
    without a sample.
    """
    yield from _archive_rows(path) if path.suffix.lower() == ".eval" else _object_rows(path)


def _archive_rows(path: Path) -> Iterator[Row]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path}: not a log of inspect_ai ({error})") from error
    with archive:
        names = archive.namelist()
        header = next((_member(path, archive, name) for name in _HEADERS if name in names), None)
        if header is None:
            raise ValueError(f"{path}: not a log of inspect_ai: it has no {_HEADERS[0]}")
        places = {id: i for i, id in enumerate(_ids(path, header))}
        samples = [name for name in names if name.startswith("samples/") and name.endswith(".json")]
        samples.sort(key=lambda name: _order(name, places))
        yield from _rows(path, header, ((f"{path}, {name}", _member(path, archive, name)) for name in samples))


def _object_rows(path: Path) -> Iterator[Row]:
    try:
        log = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(log, dict) or not isinstance(log.get("eval"), dict):
        raise ValueError(
            f"{path}: not a log of inspect_ai; of other generations write an object a line into a .jsonl file"
        )
    samples = log.get("samples") or []
    if not isinstance(samples, list):
        raise ValueError(f"{path}: the log's samples are no list")
    yield from _rows(path, log, ((f"{path}, sample {i}", sample) for i, sample in enumerate(samples, start=1)))


def _order(name: str, places: Mapping[str, int]) -> tuple[int, str, int]:
    id, _, epoch = name.removeprefix("samples/").removesuffix(".json").rpartition("_epoch_")
    return places.get(id, len(places)), id, int(epoch) if epoch.isdecimal() else 0


def _ids(path: Path, header: Log) -> list[str]:
    with reading(str(path), "inspect_ai"):
        return [str(id) for id in header["eval"]["dataset"].get("sample_ids") or []]


def _rows(path: Path, header: Log, samples: Iterator[tuple[str, Log]]) -> Iterator[Row]:
    with reading(str(path), "inspect_ai"):
        task, said, ours = str(header["eval"]["task"]), _draw(header), _is_ours(header)
    missing = dict.fromkeys(_ids(path, header))
    for place, sample in samples:
        with reading(place, "inspect_ai"):
            missing.pop(str(sample["id"]), None)
            about = sample["metadata"] if ours else {}
            yield Row(
                place,
                [_as_drawn(r, sample) if ours else r for r in _responses(sample)],
                id=about.get("problem_id", str(sample["id"])),
                prompt=prompt_text(sample["input"]),
                answer=gold_text(sample["target"]),
                metadata=about.get("problem_metadata", {}),
                task=task,
                said=said,
            )
    if missing:
        finish = "simko evaluate, and export it again" if ours else "inspect eval-retry"
        raise ValueError(
            f"{path}: the log has no sample of {len(missing)} problems of its data set, {next(iter(missing))!r} first: finish the "
            f"evaluation ({finish}), or pass@K would leave them out"
        )


def _responses(sample: Log) -> list[Response]:
    if sample.get("error"):
        words = " ".join(str(sample["error"].get("message")).split())[:_WORDS]
        return [Response("", "failed", failure=words or "an error")]
    choices, usage = sample["output"]["choices"], sample["output"].get("usage") or {}
    tokens = whole_number(usage.get("output_tokens"), "output_tokens") if len(choices) == 1 else None
    if not choices:
        raise ValueError("the sample has no output")
    return [
        Response(
            _text(c["message"], sample),
            finish_reason(c.get("stop_reason")),
            tokens or 0,
            thinking=_thinking(c["message"]["content"]),
        )
        for c in choices
    ]


def _thinking(content: Any) -> str | None:
    """The thinking that stands apart from the text of a message."""
    parts = content if isinstance(content, list) else []
    return "".join(part["reasoning"] for part in parts if part.get("type") == "reasoning") or None


def _text(message: Log, sample: Log) -> str:
    text = message_text(message["content"])
    if not text.startswith(ATTACHED):
        return text
    return message_text(sample["attachments"][text.removeprefix(ATTACHED)])


def _as_drawn(response: Response, sample: Log) -> Response:
    """A response with what `simko export` says beside it."""
    prompt_tokens = (sample["output"].get("usage") or {}).get("input_tokens")
    return replace(
        response,
        seed=whole_number(sample["metadata"].get("seed"), "seed"),
        prompt_tokens=whole_number(prompt_tokens, "input_tokens") or 0,
    )


def _is_ours(header: Log) -> bool:
    """Whether `simko export` wrote the log."""
    return "simko" in (header["eval"].get("metadata") or {})


def _draw(header: Log) -> dict[str, Any]:
    if _is_ours(header):
        return exported_draw(header["eval"]["task_args"]["setting"], header["eval"]["metadata"])
    config = {**(header["eval"].get("model_generate_config") or {}), **(header.get("plan", {}).get("config") or {})}
    return draws(
        model=header["eval"].get("model"),
        temperature=config.get("temperature"),
        top_p=config.get("top_p"),
        top_k=config.get("top_k"),
        max_new_tokens=config.get("max_tokens"),
        stop=config.get("stop_seqs"),
        seed=config.get("seed"),
    )


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Log:
    """The object in a file of the archive, which is deflated or, in newer logs, compressed with Zstandard."""
    info = archive.getinfo(name)
    if info.file_size > _LARGEST_MEMBER:
        raise ValueError(f"{path}: {name} in it is larger than 1 GiB")
    try:
        data = _unpacked(path, info) if info.compress_type == _ZSTANDARD else archive.read(info)
        value = json.loads(data)
    except (ValueError, RecursionError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path}: {name} in it cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {name} in it holds no JSON object")
    return value


def _unpacked(path: Path, info: zipfile.ZipInfo) -> bytes:
    """A file compressed with Zstandard, which Python's zipfile reads from 3.14 on."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as missing:
        raise RuntimeError("reading .eval needs the package datasets: pip install 'simko[eval]'") from missing
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
        file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
        packed = file.read(info.compress_size)
    with pa.input_stream(pa.py_buffer(packed), compression="zstd") as stream:
        data = bytes(stream.read(info.file_size))
    if zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for file {info.filename!r}")
    return data
