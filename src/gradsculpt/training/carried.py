"""What is carried from one training step to the next, in its place and in every process."""

from typing import Any

from torch import Tensor, distributed

from gradsculpt.objectives import State


def put(place: Any, value: Any) -> Any:
    """Return a value in the place of an older one like it, if there is such a place."""
    alike = isinstance(place, Tensor) and place.shape == value.shape and place.dtype == value.dtype
    return place.copy_(value) if alike and place.device == value.device else value


def of_every_process(state: State) -> list[State]:
    """Return the states of all processes that train together, by rank."""
    if not state or not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    states: list[State] = [{}] * distributed.get_world_size()
    distributed.all_gather_object(states, {name: value.cpu() for name, value in state.items()})
    return states
