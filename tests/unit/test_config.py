from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.config import (
    CoordinatorConfig,
    InvalidConfig,
    ProviderConfig,
    read_toml,
    to_toml,
)
from reelmesh.node.logging import REDACTED, get_logger, redact, setup_logging


def provider(folder: Path, **fields: Any) -> ProviderConfig:
    return ProviderConfig(home=folder, chain_id=31337, deployment=folder / "d.json", **fields)


def test_a_saved_configuration_loads_as_itself_and_is_private(tmp_path: Path) -> None:
    floors = {"upscale": 2**100, "decode": 7}
    config = provider(tmp_path, threads=3, price_floors=floors, bootstrap=("/ip4/1.2.3.4/tcp/1",))
    file = tmp_path / "config.toml"
    config.save(file)
    assert ProviderConfig.load(file) == config
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nested_tables_survive(tmp_path: Path) -> None:
    rates = {"upscale": {"wei_per_unit": 5, "seconds_per_unit": 0.25}}
    config = CoordinatorConfig.model_validate(
        {"home": tmp_path, "chain_id": 1, "deployment": tmp_path / "d", "reference_rates": rates}
    )
    config.save(tmp_path / "c.toml")
    assert CoordinatorConfig.load(tmp_path / "c.toml") == config


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('home = "/h"\nchain_id = 1\ndeployment = "/d"\nthread = 2', "thread"),
        ('home = "/h"\nchain_id = 0\ndeployment = "/d"', "chain_id"),
        ('home = "/h"\nchain_id = 1\ndeployment = "/d"\ndevice = "gpu"', "device"),
        ('home = "/h"\nchain_id = 1\ndeployment = "/d"\nrpc_url = "ftp://x"', "rpc_url"),
        ("home = ", "TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field_named(
    tmp_path: Path, body: str, named: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(body)
    with pytest.raises(InvalidConfig, match=named):
        ProviderConfig.load(file)


def test_a_missing_file_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        ProviderConfig.load(tmp_path / "none.toml")
    assert "--config" in caught.value.hint


def test_a_home_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    config = CoordinatorConfig(home=long, chain_id=1, deployment=tmp_path / "d")
    with pytest.raises(InvalidConfig, match="too long"):
        _ = config.control_socket


_NAMES = st.text(st.sampled_from("abcxyz_09"), min_size=1, max_size=8)
_PRINTABLE = st.characters(exclude_categories=("Cs", "Cc"))
_SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(_PRINTABLE))


@given(st.dictionaries(_NAMES, st.one_of(_SCALARS, st.lists(st.text(_PRINTABLE), max_size=3))))
def test_what_is_written_as_toml_reads_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    file = tmp_path_factory.mktemp("toml") / "x.toml"
    file.write_text(to_toml(values), encoding="utf-8")
    assert read_toml(file) == values


def test_secrets_do_not_reach_the_log() -> None:
    out = io.StringIO()
    setup_logging("info", "json", out)
    get_logger("reelmesh.test").info(
        "opened", password="hunter2", lease_token=b"123", url="http://me:hunter2@host/", job="0x1"
    )
    told = json.loads(out.getvalue())
    assert "hunter2" not in out.getvalue()
    assert told["password"] == told["lease_token"] == REDACTED
    assert (told["event"], told["job"]) == ("opened", "0x1")


def test_long_bytes_are_shortened() -> None:
    assert redact(None, "", {"data": bytes(100)})["data"] == "0000000000000000…(100 bytes)"
