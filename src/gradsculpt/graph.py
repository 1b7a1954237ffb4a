"""The graph that a forward pass leaves behind: what lies between the logits and the images."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

Vertex = tuple[Node, int]
"""A tensor of the graph: the node that computed it, and which of the node's outputs it is."""


def vertex(t: Tensor) -> Vertex | None:
    """Return where a tensor stands in the graph now; None for a leaf, or where nothing was recorded."""
    return None if t.grad_fn is None else (t.grad_fn, t.output_nr)


def history(*last: Any) -> Iterator[Any]:
    """Yield every node that the output of nodes was computed by, themselves first, each once."""
    waiting, seen = list(last), set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            yield node
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]


class Between:
    """The nodes on the way from one tensor back to another, which it was computed from.

    Args:
        end: What was computed, the logits say.
        start: What from, the images say; a leaf, or a tensor with a history of its own, which does not count.

    Attributes:
        nodes: The nodes, each before those that it was computed from.
    """

    def __init__(self, end: Tensor, start: Tensor) -> None:
        self._start = start
        order: list[Any] = []
        leads: dict[Any, bool] = {}
        waiting = [(end.grad_fn, False)] if end.grad_fn is not None else []
        while waiting:
            node, expanded = waiting.pop()
            following = [] if self._is_start(node) else [n for n, _ in node.next_functions if n is not None]
            if expanded:
                leads[node] = self._is_start(node) or any(leads[n] for n in following)
                order.append(node)
            elif node not in leads:
                leads[node] = False
                waiting += [(node, True), *((n, False) for n in following if n not in leads)]
        self.nodes = [node for node in reversed(dict.fromkeys(order)) if leads[node]]
        self._places = {node: place for place, node in enumerate(self.nodes)}

    def _is_start(self, node: Any) -> bool:
        return node is self._start.grad_fn or getattr(node, "variable", None) is self._start

    def __contains__(self, node: object) -> bool:
        return node in self._places

    def before(self, node: Any) -> list[Vertex]:
        """Return what a node was computed from, as far as the images have a part in it."""
        if self._is_start(node):
            return []
        return [(n, number) for n, number in node.next_functions if n in self._places]

    def bottlenecks(self) -> list[Vertex]:
        """Return the tensors that everything between the two ends passes through, the one nearest to the end first."""
        found: list[Vertex] = []
        furthest = 0
        entered: dict[Any, set[int]] = {}
        for place, node in enumerate(self.nodes):
            numbers = entered.get(node, {0})
            if furthest <= place and len(numbers) == 1:
                found.append((node, *numbers))
            for following, number in self.before(node):
                entered.setdefault(following, set()).add(number)
                furthest = max(furthest, self._places[following])
        return found
