"""What a model's folder may hold: safetensors and plain JSON, and nothing that could run code.

A folder comes from a hub or from anybody's disk. Weights are safetensors alone, never pickle; a
configuration that asks for code of its own, or points out of its folder, is refused.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# Unlike json.loads it has a limit to nesting of its own, and never ends the process.
from pydantic_core import from_json

from reelmesh.errors import UserError

MIB = 1 << 20
MAX_FILES = 512
MAX_SEEN = 5000
MAX_SAFETENSORS = 64 << 30
MAX_HEADER = 64 * MIB
# A tokenizer holds its whole vocabulary, an index the name of every tensor; the rest is small.
_JSON_LIMITS = {"tokenizer.json": 64 * MIB, "tokenizer_config.json": 4 * MIB}
_INDEX_LIMIT = 16 * MIB
_CONFIG_LIMIT = MIB
_CONFIGS = frozenset(
    {
        "model_index.json", "config.json", "generation_config.json", "scheduler_config.json",
        "preprocessor_config.json", "processor_config.json", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json",
    }
)  # fmt: skip
WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5")
_CODE = (".py", ".pyc", ".so", ".dll", ".dylib")
_FORBIDDEN_KEYS = frozenset(
    {"auto_map", "trust_remote_code", "custom_pipeline", "custom_pipelines"}
)

ALLOW_PATTERNS = (*sorted(_CONFIGS), *_JSON_LIMITS, "*.safetensors", f"*{_INDEX}")
"""Names of files that are taken from a hub, for each folder."""


class RefusedModel(UserError):
    """A model's folder holds something that this node does not take."""


def check_folder(root: Path, folders: Sequence[str], skip: Sequence[str] = ()) -> list[Path]:
    """The files to take from `folders` below `root`, each looked at; relative, sorted.

    Args:
        folders: one that ends in .safetensors is a single file.
        skip: patterns of files that are left where they are.

    Raises:
        RefusedModel: pickled weights, code, a link, a file that is no file, too large, damaged
            safetensors, JSON that asks for code; or a folder that is wanted and missing.
    """
    found = [path for path in _files(root) if _wanted(path, folders)]
    taken = [path for path in found if not any(fnmatch(str(path), one) for one in skip)]
    for path in taken:
        _check_file(root, path)
    for folder in folders:
        if not any(folder in (str(path), str(path.parent)) for path in taken):
            what = "file" if folder.endswith(WEIGHTS) else "folder"
            raise RefusedModel(
                f"{root} has no {what} {folder!r}", "give the whole model, as the hub has it"
            )
    if not any(path.suffix == ".safetensors" for path in taken):
        raise RefusedModel(f"{root} holds no safetensors weights", "only safetensors are taken")
    if len(taken) > MAX_FILES:
        raise RefusedModel(f"{root} holds {len(taken)} files", f"at most {MAX_FILES} are taken")
    return sorted(taken)


def _files(root: Path) -> Iterator[Path]:
    """Every file below a folder, relative to it. Links and odd files end it at once."""
    count = 0
    waiting = [root]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            count += 1
            if count > MAX_SEEN:
                raise RefusedModel(f"{root} holds too many files", "give the model's folder alone")
            name, mode = path.relative_to(root), path.lstat().st_mode
            if stat.S_ISDIR(mode):
                if path.name not in (".cache", ".git"):
                    waiting.append(path)
            elif stat.S_ISLNK(mode):
                raise RefusedModel(
                    f"{name} is a link",
                    "give a folder of plain files: cp -rL copies what is linked",
                )
            elif not stat.S_ISREG(mode):
                raise RefusedModel(f"{name} is not a plain file", "take it out of the folder")
            else:
                _refuse_by_name(name)
                yield name


def _refuse_by_name(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in _PICKLED:
        raise RefusedModel(
            f"{path} can hold pickled code", "only safetensors are taken: take it out of the folder"
        )
    if suffix in _CODE:
        raise RefusedModel(f"{path} is code", "no model's own code is ever run: take it out")


def _wanted(path: Path, folders: Sequence[str]) -> bool:
    name = path.name
    if str(path) == "model_index.json" or (str(path) in folders and name.endswith(WEIGHTS)):
        return True
    fits = name in _CONFIGS or name in _JSON_LIMITS or name.endswith((WEIGHTS, _INDEX))
    return fits and str(path.parent) in folders


def _check_file(root: Path, path: Path) -> None:
    whole = root / path
    size, most = whole.stat().st_size, _limit(path.name)
    if not 0 < size <= most:
        raise RefusedModel(f"{path} has {size} bytes; 1 to {most} are taken", "get the model again")
    if path.suffix == ".safetensors":
        _check_safetensors(whole, path, size)
    elif path.suffix == ".json":
        read_json(whole, path)


def _limit(name: str) -> int:
    if name.endswith(".safetensors"):
        return MAX_SAFETENSORS
    if name.endswith(_INDEX):
        return _INDEX_LIMIT
    return _JSON_LIMITS.get(name, _CONFIG_LIMIT)


def read_json(whole: Path, path: Path) -> dict[str, Any]:
    """A configuration, which asks for nothing that this node does not give. Raises RefusedModel."""
    try:
        value = from_json(whole.read_bytes())
        if not isinstance(value, dict):
            raise ValueError("it is no object")  # noqa: TRY004 (told as one of the others)
        if path.name != "tokenizer.json":
            _check_values(value, path)
        if path.name.endswith(_INDEX):
            _check_index(value)
    except ValueError as error:
        why = str(error)[:120]
        raise RefusedModel(
            f"{path} is not as it should be: {why}", "get the model again"
        ) from error
    return value


def _check_values(value: Any, path: Path) -> None:
    if isinstance(value, dict):
        asked = _FORBIDDEN_KEYS & set(value)
        if asked:
            raise RefusedModel(
                f"{path} asks for code of its own ({min(asked)})", "no model's own code is ever run"
            )
        for one in value.values():
            _check_values(one, path)
    elif isinstance(value, list):
        for one in value:
            _check_values(one, path)


def _check_index(value: dict[str, Any]) -> None:
    names = value.get("weight_map")
    if not isinstance(names, dict):
        raise ValueError("its weight_map is missing")  # noqa: TRY004 (told as one of the others)
    for name in set(map(str, names.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"it names the file {name[:60]!r}")


def _check_safetensors(whole: Path, path: Path, size: int) -> None:
    """The header alone: a length, then JSON whose tensors lie within the file."""
    with whole.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise RefusedModel(f"{path} is not a safetensors file", "get the model again")
        try:
            header = from_json(file.read(length))
            ends = [one["data_offsets"][1] for key, one in header.items() if key != "__metadata__"]
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
        ) as error:
            raise RefusedModel(f"{path} is not a safetensors file", "get it again") from error
    if max(ends, default=0) != size - 8 - length:
        raise RefusedModel(f"{path} is cut short or padded", "get the model again")
