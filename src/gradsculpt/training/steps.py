"""The steps of a training as they are taken, or not: their numbers are noted, and a step that is broken is told."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradsculpt.training import broken
from gradsculpt.training.finite import Guard, blended
from gradsculpt.training.tally import Tally

_SECONDS = 1.0
"""How often a device is asked whether all is finite."""
_TOLD = 3  # batches that are left out, of which each epoch tells one by one

Places = Any
"""Where the images of a batch stand in their set, as an array in the host's memory; None if that is not known."""


class Steps:
    """Notes what the steps of an epoch add up to, and sees to it that no broken one is taken.

    Args:
        network: What is trained.
        skipping: Whether broken steps are left out, or end the training by `BrokenStepError`.
        tell: Is given a line about steps that are left out.
    """

    def __init__(self, network: nn.Module, *, skipping: bool, tell: Callable[[str], None]) -> None:
        self._network, self.skipping, self._tell = network, skipping, tell
        self._names: Sequence[str] = ()
        self._places: list[tuple[int, Places]] = []
        self._epoch = self._done = self._told = 0
        self._asked, self._precision = 0.0, ""
        self.place(torch.device("cpu"))

    def place(
        self,
        device: torch.device,
        scaler: Any = None,
        *,
        waits: bool = True,
        precision: str = "",
        names: Sequence[str] = (),
    ) -> None:
        """Prepare for steps.

        Args:
            device: Where they are taken.
            scaler: What scales their loss, if anything does.
            waits: Whether the host looks at each step; or else the device alone decides, for a fused optimiser.
            precision: What is told of the training.
            names: Those of the images.
        """
        self.tally, self._scaler, self._precision, self._names = Tally(device), scaler, precision, names
        self.waits = waits
        self.guard = Guard(
            dict(self._network.named_parameters()),
            device,
            skipping=self.skipping,
            kept=lambda: [*self._network.buffers(), *self.tally.values],
        )
        self._sound = torch.ones((), dtype=torch.bool, device=device)

    def begin_epoch(self, epoch: int) -> None:
        """Forget the epoch before; epochs are counted from 1."""
        self.tally.begin()
        self.guard.begin_epoch()
        self._epoch, self._done, self._told, self._places = epoch, 0, 0, []

    def begin(self, places: Places) -> None:
        """Begin with a batch of images."""
        self._done += 1
        self._places.append((self._done, places))

    def add(self, values: Mapping[str, Tensor], images: int) -> None:
        """Note the loss of a batch and its terms."""
        self._sound = self.tally.add(values, images) & self._sound

    def begin_step(self) -> None:
        """Begin an optimiser step, of one batch or several."""
        self.guard.begin()
        self._sound = torch.ones_like(self._sound)

    def look(self, terms: broken.Terms | None = None) -> None:
        """Look at the gradients after a batch; where that costs nothing, tell at once what is broken.

        Args:
            terms: Evaluates the objective on a part of the batch again, to find out more.
        """
        self.guard.look(self._sound, self.tally.steps)
        if not self.waits or not self.guard.is_broken:
            return
        if self._scaler is not None and bool(self._sound) and self._scaler.get_scale() > 1:
            self.guard.forgive()  # the scaler leaves this step out, and scales the loss by less from now on
            return
        self._tell_broken(terms)

    def leave_out(self, optimizer: Optimizer, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        """Have a broken step leave no trace, before the optimiser takes it; return what is carried to the next."""
        off = self.guard.broken > 0
        self.guard.undo()
        if not self.waits:
            return {name: blended(off, before.get(name), value) for name, value in after.items()}
        if not bool(off):
            return dict(after)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        self._check_share(ended=False)
        return dict(before)

    def check(self) -> None:
        """Tell what is broken on a device that is not asked at each step, if it was not asked for a while."""
        if not self.waits and time.monotonic() - self._asked > _SECONDS:
            self._ask()

    def end_epoch(self) -> None:
        """Tell what is broken, and what was left out; no weight that is not finite is kept."""
        if not self.waits:
            self._ask()
        broken.check_weights(self._network, self._epoch)
        if self.skipping and (count := float(self.guard.left_out)):
            self._tell(f"left out {count:.0f} of {self._done} batches in epoch {self._epoch}, as they were not finite")
            self._check_share(ended=True)

    def means(self, added_up: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Return the means of all values over the images of the epoch, and how many batches were left out.

        `added_up` sums over all processes.
        """
        skipped = {"skipped": self.guard.left_out.clone()} if self.skipping else {}
        return self.tally.means(added_up) | skipped

    def _ask(self) -> None:
        self._asked = time.monotonic()
        if self.skipping:
            if latest := int(self.guard.latest):
                self._check_share(ended=False)
                if self._told < latest:
                    self._told = latest
                    self._tell(f"left out batch {latest} of epoch {self._epoch}, {self._where(latest)}: not finite")
        elif self.guard.is_broken:
            self._tell_broken(None)
        self._places = self._places[-1:]

    def _tell_broken(self, terms: broken.Terms | None) -> None:
        """Tell of the batch that is broken, as an error unless batches are left out."""
        number, parameters = self.guard.first()
        weights = broken.broken_weights(self._network)
        wanted = [each for each in self._network.parameters() if each.requires_grad]
        alone = list[int]()
        if terms is not None and not weights and (not self.skipping or self._told < _TOLD):
            count = next((len(places) for step, places in self._places if step == number and places is not None), 0)
            alone = broken.unless_it_fails(lambda: broken.broken_alone(terms, wanted, count))
        if (found := self.tally.broken()) is not None:
            number, through, value = found
            fact = broken.of_loss(value, through, self._epoch)
        else:
            through = list[str]()
            if terms is not None:
                again = terms
                through = broken.unless_it_fails(lambda: broken.terms_with_broken_gradients(again(slice(None)), wanted))
            fact = broken.of_gradient(parameters, through, self._epoch)
        where = self._where(number, alone)
        if not self.skipping or weights:
            raise broken.BrokenStepError(
                broken.stopped(fact, number, where, weights=weights, alone=bool(alone), precision=self._precision)
            )
        self._told += 1
        if self._told <= _TOLD:
            self._tell(f"left out batch {number}, {where}: {fact}")

    def _where(self, number: int, alone: Sequence[int] = ()) -> str:
        places = next((places for step, places in self._places if step == number), None)
        return broken.images(self._names, places, alone)

    def _check_share(self, *, ended: bool) -> None:
        broken.check_share(float(self.guard.left_out), self._done, self._epoch, ended=ended)
