"""Networks are fetched from a stand-in of the Hub: the right files, once, and one line for whatever else is there."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gradsculpt.errors import GradsculptError, ModelError, RunError
from gradsculpt.hub import parse
from gradsculpt.hub.fetching import fetch
from gradsculpt.models import load
from gradsculpt.sharing import bundle
from tests.hub import standin
from tests.hub.standin import Hub
from tests.sharing.small import make_run

NAME = "you/digits"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = make_run(tmp_path_factory.mktemp("fetched") / "run")
    return dict(bundle(run, NAME).files)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with standin.hub() as server, standin.told(standin.environment(server.address, tmp_path / "home")):
        yield server


def test_a_network_is_fetched_and_no_more_than_it_needs(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.put(NAME, {**files, "pytorch_model.bin": b"code", "model.py": b"raise SystemExit"})
    told: list[str] = []
    folder = fetch(parse(f"hf:{NAME}"), told.append)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "config.yaml"}
    assert all((folder / name).read_bytes() == files[name] for name in ("config.json", "model.safetensors"))
    assert folder.is_relative_to(tmp_path / "home")
    assert told == []
    wanted = {request.rpartition("/")[2] for request in hub.asked if "resolve" in request}
    assert wanted == {"config.json", "model.safetensors", "config.yaml"}
    loaded = load(f"hf:{NAME}")
    assert loaded.classes == tuple("0123456789")
    assert loaded.reached is not None


def test_what_is_there_is_not_fetched_again_and_a_new_commit_is(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    repository = hub.put(NAME, files)
    first = fetch(parse(NAME))
    hub.asked.clear()
    assert fetch(parse(NAME)) == first
    assert {request for request in hub.asked if request.startswith("GET")} == set()
    assert len(hub.asked) <= 2
    other = bundle(make_run(tmp_path / "other", data="cells"), NAME).files
    repository.commit(other)
    second = fetch(parse(NAME))
    assert second != first
    assert (second / "config.yaml").read_bytes() == other["config.yaml"]
    assert fetch(parse(f"{NAME}@{first.name}")) == first


def test_a_branch_is_named_behind_an_at(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    repository = hub.put(NAME, files)
    other = bundle(make_run(tmp_path / "other", data="cells"), NAME).files
    repository.commit(other, "v2")
    assert (fetch(parse(f"{NAME}@v2")) / "config.yaml").read_bytes() == other["config.yaml"]
    assert (fetch(parse(NAME)) / "config.yaml").read_bytes() == files["config.yaml"]


def test_the_cache_serves_where_there_is_no_network(files: dict[str, bytes], tmp_path: Path) -> None:
    with standin.hub() as server, standin.told(standin.environment(server.address, tmp_path)):
        server.put(NAME, files)
        there = fetch(parse(NAME))
        server.down = 503
        assert fetch(parse(NAME)) == there
        address = server.address
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        with standin.told(standin.environment(address, tmp_path, **more)):
            started = time.monotonic()
            assert fetch(parse(NAME)) == there
            with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set" if more else "cannot be reached"):
                fetch(parse("you/other"))
            assert time.monotonic() - started < 5


def gated(hub: Hub, files: dict[str, bytes]) -> None:
    hub.put(NAME, files, gated=True)


def config_of(**content: Any) -> bytes:
    return json.dumps(content).encode()


CASES: dict[str, tuple[Any, str, str]] = {
    "nothing": (lambda hub, files: None, NAME, "there is no repository you/digits at http.*private.*hf auth login"),
    "gated": (gated, NAME, "you/digits is open to those alone who have accepted its terms.*accept them at http"),
    "no revision": (lambda hub, files: hub.put(NAME, files), f"{NAME}@v9", "you/digits has no revision v9"),
    "out of order": (lambda hub, files: setattr(hub, "down", 503), NAME, "the Hub is out of order .status 503"),
    "indiscreet": (lambda hub, files: setattr(hub, "down", 422), NAME, "refuses it .*out of order for Bearer [*]{3}"),
    "too many": (lambda hub, files: setattr(hub, "down", 429), NAME, "too many requests"),
    "empty": (lambda hub, files: hub.put(NAME, {"README.md": b""}), NAME, "as it has no config.json"),
    "transformers": (
        lambda hub, files: hub.put(NAME, {**files, "config.json": config_of(model_type="vit", architectures=["V"])}),
        NAME,
        "a network of transformers, and not of gradsculpt",
    ),
    "timm": (
        lambda hub, files: hub.put("timm/resnet18.a1_in1k", {"config.json": config_of(pretrained_cfg={})}),
        "timm/resnet18.a1_in1k",
        "name it so: timm:resnet18.a1_in1k --weights default",
    ),
    "timm of others": (
        lambda hub, files: hub.put(NAME, {"config.json": config_of(architecture="resnet18", pretrained_cfg={})}),
        NAME,
        "name it so: timm:resnet18 --weights FILE",
    ),
    "another": (lambda hub, files: hub.put(NAME, {"config.json": config_of(a=1)}), NAME, "of another library"),
    "no json": (lambda hub, files: hub.put(NAME, {"config.json": b"\xff{"}), NAME, "config.json of .* cannot be read"),
    "a list": (lambda hub, files: hub.put(NAME, {"config.json": b"[1]"}), NAME, "holds no network of gradsculpt's"),
    "pickles": (
        lambda hub, files: hub.put(NAME, {"config.json": files["config.json"], "pytorch_model.bin": b"x"}),
        NAME,
        "has no model.safetensors; weights of another kind, such as pickles, are not read",
    ),
    "huge weights": (
        lambda hub, files: (hub.put(NAME, files), hub.sizes.update({"model.safetensors": 1 << 60})),
        NAME,
        "model.safetensors of .* has 1.* TB, and .* are the most",
    ),
    "huge description": (
        lambda hub, files: (hub.put(NAME, files), hub.sizes.update({"config.json": 1 << 40})),
        NAME,
        "config.json of .* has 1.1 TB",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_network_is_told_in_one_line_and_soon(case: str, hub: Hub, files: dict[str, bytes]) -> None:
    prepare, name, said = CASES[case]
    prepare(hub, files)
    started = time.monotonic()
    with pytest.raises(ModelError, match=said) as caught:
        load(f"hf:{name}")
    assert time.monotonic() - started < 10
    assert standin.TOKEN not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_nobody_who_may_not_see_it_is_let_in(files: dict[str, bytes], tmp_path: Path) -> None:
    with standin.hub() as server, standin.told(standin.environment(server.address, tmp_path, HF_TOKEN="hf_other")):
        server.put(NAME, files, private=True)
        with pytest.raises(ModelError, match="or it is private"):
            fetch(parse(NAME))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_what_was_damaged_on_the_way_is_not_used(file: str, hub: Hub, files: dict[str, bytes]) -> None:
    content = bytearray(files[file])
    content[len(content) // 2] ^= 1
    hub.put(NAME, {**files, file: bytes(content)})
    with pytest.raises((RunError, ModelError), match=r"(damaged.* delete .*models--you--digits, and|cannot be read)"):
        load(f"hf:{NAME}")


def test_code_of_a_strangers_is_not_run(hub: Hub, files: dict[str, bytes]) -> None:
    description = json.loads(files["config.json"])
    del description["checksum"]
    description["build"]["model"] = "python:planted:make"
    hub.put(NAME, {**files, "config.json": config_of(**description), "planted.py": b"raise SystemExit"})
    with pytest.raises(GradsculptError, match="--trust-code planted"):
        load(f"hf:{NAME}")


def test_the_library_is_left_as_it_was(hub: Hub, files: dict[str, bytes]) -> None:
    import logging

    from huggingface_hub import get_session
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    hub.put(NAME, files)
    before = are_progress_bars_disabled(), get_session().timeout, logging.getLogger("huggingface_hub").level
    fetch(parse(NAME))
    after = are_progress_bars_disabled(), get_session().timeout, logging.getLogger("huggingface_hub").level
    assert before == after


def test_a_training_starts_from_a_network_of_the_hub(hub: Hub, files: dict[str, bytes]) -> None:
    from gradsculpt.models import started

    hub.put(NAME, files)
    start = started("lenet", f"hf:{NAME}", classes=tuple("0123456789"), image_size=16)
    expected = load(f"hf:{NAME}").network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in start.network.state_dict().items())
    with pytest.raises(ModelError, match=f"hf:{NAME} is a run of the network lenet"):
        started("convnet", f"hf:{NAME}", classes=("a", "b"), image_size=16)


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradsculpt.hub.names.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"hf:you/digits needs the package huggingface_hub.*gradsculpt\[hub\]"):
        load(f"hf:{NAME}")


def test_a_hub_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradsculpt.hub.fetching.PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with standin.told(standin.environment(address, tmp_path)):
            started = time.monotonic()
            with pytest.raises(ModelError, match=f"{address} cannot be reached"):
                fetch(parse(NAME))
            assert time.monotonic() - started < 5


def test_a_cache_that_cannot_be_written_is_named(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.put(NAME, files)
    (tmp_path / "home").write_text("a file")
    with pytest.raises(
        ModelError, match=f"does not get into the Hub's cache {tmp_path / 'home' / 'hub'}: .*HF_HOME puts"
    ):
        fetch(parse(NAME))
