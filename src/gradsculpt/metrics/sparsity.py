"""How concentrated a map is."""

import torch
from torch import Tensor

from gradsculpt.metrics.base import Score, ascending, metric, rows
from gradsculpt.numerics import divided, unit_peak


@metric(Score("gini", low=0.0, high=1.0, better="higher"))
def gini(maps: Tensor) -> Tensor:
    """Gini index of the magnitudes: 0 for a uniform map, (n - 1) / n for a single non-zero entry of n.

    Args:
        maps: Attribution maps. All n entries of a sample count; pass `heatmap(maps)` to count pixels instead.

    Shape: [N, H, W] or [N, C, H, W] to [N].
    Units: None; multiplying a map by a number does not change its index.

    Returns:
        The index in [0, 1), higher is sparser. A map that is zero everywhere is uniform: 0.

    Raises:
        ArgumentError: If `maps` is not a batch of finite floating-point maps.

    Source: Hurley and Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory, 2009; Gong et
        al., CVPR 2024, Table 3.

    Example:
        >>> gini(torch.tensor([[[1.0, -1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, -5.0]]]))
        tensor([0.0000, 0.7500])
    """
    ordered = ascending(unit_peak(rows("maps", maps)))
    n = ordered.shape[1]
    weights = torch.arange(1 - n, n, 2, dtype=ordered.dtype, device=ordered.device) / n
    return divided((ordered * weights).sum(dim=1), ordered.sum(dim=1)).clamp(0.0, 1.0).to(maps.dtype)
