"""Gradio's page, made safe: no value is taken that is not on offer, and every error is a sentence."""

import html
import math
from typing import Any

import gradio as gr

from gradsculpt.errors import ArgumentError
from gradsculpt.viewer.told import LOG, sentence


class Page(gr.Blocks):
    """Blocks whose controls take what is on offer alone, and whose errors, wherever they come from, are sentences."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *given: Any, **named: Any) -> list[Any]:
        """Return what a function is given; raise `ArgumentError` if a control has a value that it does not offer."""
        try:
            values: list[Any] = await super().preprocess_data(block_fn, inputs, *given, **named)
            fine = all(_fits(block, value) for block, value in zip(block_fn.inputs, values, strict=True))
        except Exception as error:
            LOG.info("a value was refused: %s", error)
            fine = False
        if not fine:
            raise ArgumentError("a choice is not on offer, or not any more; reload the page, and choose again.")
        return values

    async def postprocess_data(
        self, block_fn: Any, predictions: Any, state: Any, *given: Any, **named: Any
    ) -> list[Any]:
        """Return what a function shows; of what it has shown before, nothing is kept.

        Gradio notes each value of a component that was changed under a number of its own, for as long as the visitor is
        there: a page of pictures for every map.
        """
        shown: list[Any] = await super().postprocess_data(block_fn, predictions, state, *given, **named)
        if state is not None:
            for noted in (state.blocks_config.blocks, state.config_values):
                for key in noted.keys() - self.blocks.keys():
                    del noted[key]
        return shown

    async def process_api(self, *given: Any, **named: Any) -> dict[str, Any]:
        """Do what a control is for; whatever it raises is shown as a sentence."""
        try:
            return await super().process_api(*given, **named)
        except Exception as error:
            # Gradio shows it as HTML.
            raise gr.Error(html.escape(sentence(error)), print_exception=False) from None


def _fits(block: Any, value: Any) -> bool:
    """Whether a control may have a value at all; that it is among its choices, or within its range, was checked."""
    if isinstance(block, gr.Slider):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if isinstance(block, gr.CheckboxGroup) or (isinstance(block, gr.Dropdown) and block.multiselect):
        return value is None or isinstance(value, list)
    if isinstance(block, gr.Dropdown | gr.Radio):
        return not isinstance(value, list | dict)
    return True
