"""What the Metric wrapper keeps of a function, and that its listing is complete."""

import dataclasses
import inspect
import pickle

import pytest
import torch
from torch import Tensor

from gradsculpt import metrics
from gradsculpt.metrics import (
    METRICS,
    Masking,
    Metric,
    Neighbourhood,
    Score,
    cosine,
    five_band_scores,
    gini,
    metric,
)


def test_keeps_name_docstring_and_signature() -> None:
    assert repr(gini) == gini.name == "gini"
    assert list(inspect.signature(cosine).parameters) == ["a", "b", "signed"]
    assert (inspect.getdoc(gini) or "").startswith(gini.description)
    assert gini.__module__ == "gradsculpt.metrics.sparsity"


def test_needs_are_the_arguments_without_default() -> None:
    assert gini.needs == ("maps",)
    assert cosine.needs == ("a", "b")
    assert five_band_scores.needs == ("maps", "truth")


def test_is_frozen_and_pickles_by_reference() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        gini.scores = ()  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(gini)) is gini


def test_best_follows_direction() -> None:
    assert Score("x", 0.0, 2.0, "higher").best == 2.0
    assert Score("x", 0.0, 2.0, "lower").best == 0.0
    assert Score("x", 0.0, 2.0, None).best is None


def test_every_public_metric_is_listed() -> None:
    public = [value for name in metrics.__all__ if isinstance(value := getattr(metrics, name), Metric)]
    assert len(METRICS) == len(set(METRICS))
    assert set(public) == set(METRICS)


@pytest.mark.parametrize("each", METRICS, ids=repr)
def test_describes_itself_in_one_sentence(each: Metric[..., Tensor]) -> None:
    assert each.description.endswith(".")
    for part in ("Shape:", "Units:", "Returns:", "Raises:", "Source:", ">>> "):
        assert part in (each.__doc__ or ""), part


def test_decorates_a_users_own_function() -> None:
    @metric(Score("peak", 0.0, float("inf"), None))
    def peak(maps: Tensor) -> Tensor:
        """Largest magnitude."""
        return maps.abs().flatten(1).amax(dim=1)

    assert peak(torch.tensor([[[-2.0]]])).tolist() == [2.0]
    assert peak.description == "Largest magnitude."


USUAL: dict[str, dict[str, object]] = {
    "cosine": {"signed": False},
    "topk_intersection": {"k": 0.4, "nonzero": False},
    "topk_dice": {"k": 0.4, "nonzero": False},
    "five_band_scores": {"thresholds": (0.3, 0.7)},
    "binary_scores": {"threshold": 0.7},
    "gaze_overlap": {"k": 0.05},
    "connectedness": {"k": 0.1, "connectivity": 8},
    "insertion": {"steps": 20},
    "deletion": {"steps": 20},
    "aopc_morf": {"steps": 100},
    "stability": {"k": 0.4},
    "rps": {"compare": "raw"},
    "local_lipschitz": {"relative": False},
    "max_sensitivity": {"relative": False},
    "upper_bound": {"probes": 10, "probe": "rademacher", "output": "logit"},
    "hessian_norm": {"probes": 10, "probe": "rademacher", "output": "logit", "seed": 0},
    "top_eigenvalue": {"steps": 100, "tolerance": 0.01, "output": "logit", "seed": 0},
    "linearization_error": {"direction": "gradient"},
}
"""The top 40% of Gong et al. (B.6), the bands of Tjoa and Guan, the gaze's top 5% (Table 4), 100 regions (Table 5)."""


@pytest.mark.parametrize("each", METRICS, ids=repr)
def test_what_is_not_said_is_as_published(each: Metric[..., Tensor]) -> None:
    parameters = inspect.signature(each.function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    masking, neighbourhood = defaults.pop("masking", Masking()), defaults.pop("neighbourhood", Neighbourhood())
    assert defaults == USUAL.get(each.name, {"signed": False} if "signed" in defaults else {})
    assert dataclasses.asdict(masking) == {"baseline": "zero", "output": "probability", "patch": None, "batch_size": 64}
    assert dataclasses.asdict(neighbourhood) == {"draws": 10, "bounds": None, "seed": 0, "batch_size": 32}
