"""The one way into PyTorch's functions while a network runs: a mode, a normalised call, and a table of operators."""

from gradsculpt.dispatch.call import Call
from gradsculpt.dispatch.mode import RECOMPUTES, Dispatch, Handler, Key
from gradsculpt.dispatch.operators import SHARP, Kind, Operator

__all__ = ["RECOMPUTES", "SHARP", "Call", "Dispatch", "Handler", "Key", "Kind", "Operator"]
