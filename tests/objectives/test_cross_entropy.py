"""Standard training."""

import numpy as np
import torch

from gradsculpt.objectives import CrossEntropy
from tests.networks import Recorder, batch, network


def test_it_is_the_mean_negative_log_probability_of_the_clean_batch() -> None:
    recorder, (x, y) = Recorder(network(norm=False)), batch()
    losses = CrossEntropy()(recorder, x, y)
    logits = losses.logits.detach().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(losses.loss.item(), -log_probabilities[np.arange(4), y.numpy()].mean(), rtol=1e-12)
    assert len(recorder.seen) == 1
    assert torch.equal(recorder.seen[0], x)
    assert losses.terms == {"cross_entropy": losses.loss}


def test_attention_makes_no_difference() -> None:
    model, (x, y) = network(norm=False), batch()
    with_maps = CrossEntropy()(model, x, y, attention=torch.rand(4, 1, 6, 6))
    assert torch.equal(with_maps.loss, CrossEntropy()(model, x, y).loss)


def test_backward_reaches_every_parameter() -> None:
    model, (x, y) = network(), batch()
    CrossEntropy()(model, x, y).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in list(model.parameters())[2:])
