from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reelmesh.node.cli.app import outcome
from reelmesh.node.cli.control import ControlRefused, refusal
from reelmesh.node.cli.home import running_node
from reelmesh.node.cli.submitting import (
    InvalidOption,
    file_stem,
    free_stem,
    parse_duration,
    parse_size,
    similar_notes,
)
from reelmesh.scheduler.spec import parse_spec


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = outcome(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


BAD_LINES = [
    (["job", "submit", ""], "prompt is empty"),
    (["job", "submit", "x" * 301], "301 characters"),
    (["job", "submit", "a\nb"], "line break"),
    (["job", "submit", "a ball", "--size", "501x500"], "multiple of 2"),
    (["job", "submit", "a ball", "--size", "big"], "not a size"),
    (["job", "submit", "a ball", "--budget", "0.002"], "not an amount"),
    (["job", "submit", "a ball", "--deadline", "soon"], "not a length of time"),
    (["job", "submit", "a ball", "--deadline", "1s"], "cannot be kept"),
    (["job", "submit", "a ball", "--seconds", "0.2"], "seconds"),
    (["job", "submit", "a ball", "--seed", "-1"], "seed"),
    (["job", "submit", "a ball", "--image", "none.png"], "cannot read none.png"),
    (["job", "submit", "a ball", "--image", "/dev/null"], "is not a file"),
    (["job", "submit", "a ball", "--image", __file__], "no PNG, JPEG or WebP"),
    (["job", "submit", "a ball", "--similar", "--no-reuse"], "exclude each other"),
    (["job", "submit", "a ball"], "no coordinator runs"),
    (["job", "list"], "no coordinator runs"),
    (["coordinator", "status"], "no coordinator runs"),
    (["provider", "status"], "no provider has run"),
    (["devnet", "status"], "no devnet is up"),
    (["devnet", "down"], "no devnet is up"),
    (["account", "show", "nobody"], "no account nobody"),
    (["receipt", "verify", "none.json"], "no receipt at"),
    (["contracts", "deploy", "--network", "mars"], "no network is called"),
    (["contracts", "deploy", "--network", "sepolia"], "no endpoint"),
    (["provider", "run", "--config", "none.toml"], "no configuration"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES, ids=lambda v: "-".join(v)[:40])
def test_a_mistake_gets_one_line_and_the_next_step(
    capsys: pytest.CaptureFixture[str], line: list[str], said: str
) -> None:
    code, out, err = run(capsys, *line)
    first, *rest = err.strip().splitlines()
    assert code == 2
    assert out == ""
    assert first.startswith("error: ")
    assert said in first
    assert [line.lstrip().startswith("next: ") for line in rest] == [True]


def test_an_error_is_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "job", "list", "--json")
    told = json.loads(err)
    assert code == 2
    assert told["error"] == "NodeNotRunning"
    assert told["hint"]


def test_a_wrong_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "job", "submit", "a ball", "--colour", "red")
    assert code == 2
    assert "--colour" in err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["demo"],
        ["devnet", "up"],
        ["job", "submit"],
        ["provider", "run"],
        ["receipt", "verify"],
        ["contracts", "deploy"],
    ],
)
def test_every_command_explains_itself(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, out, _ = run(capsys, *words, "--help")
    assert code == 0
    assert "Usage: reelmesh" in out


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from reelmesh.node.cli.app import outcome\n"
        "outcome(['job', 'submit', '--help'])\n"
        "heavy = {'torch', 'web3', 'grpc', 'libp2p', 'sqlalchemy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_account_is_made_listed_and_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    made = run(capsys, "account", "new", "buyer", "--password-file", str(secret), "--json")
    listed = run(capsys, "account", "list", "--json")
    shown = run(capsys, "account", "show", "buyer", "--json")
    assert [code for code, _, _ in (made, listed, shown)] == [0, 0, 0]
    assert json.loads(listed[1]) == [json.loads(made[1])] == [json.loads(shown[1])]
    again = run(capsys, "account", "new", "buyer", "--password-file", str(secret))
    assert again[0] == 2
    assert "exists already" in again[2]


def test_the_wrong_password_opens_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for file, word in ((right, "correct horse"), (wrong, "battery staple")):
        file.write_text(word)
        file.chmod(0o600)
    run(capsys, "account", "new", "buyer", "--password-file", str(right))
    line = ["contracts", "deploy", "--network", "local", "--password-file", str(wrong)]
    code, _, err = run(capsys, *line)
    assert code == 2
    assert "password" in err


def test_an_unreachable_chain_is_said_to_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse")
    secret.chmod(0o600)
    run(capsys, "account", "new", "buyer", "--password-file", str(secret))
    code, out, _ = run(capsys, "doctor", "--rpc", "http://127.0.0.1:9", "--json")
    chain = {check["name"]: check for check in json.loads(out)["checks"]}["chain"]
    assert code == 1
    assert chain["level"] == "error"
    assert chain["fix"]


def test_a_refusal_keeps_the_words_of_the_node() -> None:
    told = json.dumps({"message": "too little", "hint": "offer more", "exit_code": 2})
    error = refusal(told)
    assert (error.message, error.hint, error.exit_code) == ("too little", "offer more", 2)
    plain = refusal("something else")
    assert isinstance(plain, ControlRefused)
    assert plain.message == "something else"


def test_a_node_of_a_dead_process_does_not_run(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    (tmp_path / "node.json").write_text(json.dumps({"pid": done.pid}))
    assert running_node(tmp_path) is None
    (tmp_path / "node.json").write_text(json.dumps({"pid": os.getpid(), "address": "0x1"}))
    assert running_node(tmp_path) == {"pid": os.getpid(), "address": "0x1"}
    (tmp_path / "node.json").write_text("{")
    assert running_node(tmp_path) is None


def test_sizes_durations_and_names() -> None:
    assert parse_size("768x512") == (768, 512)
    assert [parse_duration(text) for text in ("90", "90s", "10m", "2h")] == [90, 90, 600, 7200]
    with pytest.raises(InvalidOption):
        parse_duration("9999h")
    assert file_stem("A large RED ball, moving left over…") == "a-large-red-ball-moving-left"
    assert file_stem("…") == "video"


def test_a_result_that_is_there_keeps_its_name(tmp_path: Path) -> None:
    assert free_stem(tmp_path, "a red ball") == "a-red-ball"
    (tmp_path / "a-red-ball.mp4").touch()
    (tmp_path / "a-red-ball-2.mp4").touch()
    assert free_stem(tmp_path, "a red ball") == "a-red-ball-3"


@pytest.mark.parametrize(
    ("asked", "noted"),
    [
        ({}, False),
        ({"model": "wan-t2v"}, True),
        ({"kind": "image_to_video", "image": {"sha256": "ab" * 32, "size": 9}}, True),
    ],
)
def test_similar_says_where_it_does_nothing(asked: dict[str, Any], noted: bool) -> None:
    spec = parse_spec({"prompt": "a red ball moving left", "seed": 1, **asked})
    assert bool(similar_notes(spec)) == noted
