"""The Python of the README runs as it stands, from top to bottom, in one namespace, in an empty folder."""

import time
from pathlib import Path

import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

README = Path(__file__).parent.parent / "README.md"


def test_every_block_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(README)
    examples, start = list(document.examples()), time.process_time()
    assert len(examples) == text.count("```python\n") >= 5
    for example in examples:
        example.evaluate()
    assert time.process_time() - start < 60  # of the processor; a few seconds where nothing else runs
    names = document.namespace
    assert list(tmp_path.iterdir()) == []  # what a reader tries leaves nothing behind
    # What the comments promise.
    assert names["info"].surrogate == "the network with Softplus(beta=20) for ReLU"
    assert set(names["losses"].terms) == {"adversarial_cross_entropy"}
    assert names["card"].settings["images"] == 16
    assert names["card"]["accuracy"].mean > 0.3  # one epoch of a small network
    assert torch.equal(names["Huber"](1.0).dual(torch.tensor([3.0])), torch.tensor([1.0]))
