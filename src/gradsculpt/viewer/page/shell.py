"""The frame of the page: its title, its tabs, its colours; and the server that shows it."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from gradsculpt.errors import GradsculptError, first_line
from gradsculpt.viewer.context import Context
from gradsculpt.viewer.gate import Gate
from gradsculpt.viewer.page.blocks import Page
from gradsculpt.viewer.place import UPLOADS

TABS = (
    ("Explain", "explain"),
    ("Attack", "attack"),
    ("Compare", "compare"),
    ("Class features", "features"),
    ("Train, small", "train"),
)
"""Titles, and the modules of this package whose `NAME_tab` fills them."""

_TITLE = "gradsculpt"
_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "Liberation Mono", "monospace")
_THREADS, _EVENTS = 160, 256  # a visitor who waits occupies a thread
_SESSIONS = 128  # each may keep a dozen maps
_CACHE = (120, 3600)  # seconds: how often old files are looked for, and from which age on they are removed


def page(context: Context) -> gr.Blocks:
    """Return the page, with a tab for each of `TABS` that there is."""
    blocks: gr.Blocks
    with Page(title=_TITLE, analytics_enabled=False, delete_cache=_CACHE) as blocks:
        gr.Markdown("# gradsculpt\nLook at what networks look at. All of it stays on this machine.")
        with gr.Tabs():
            for title, name in TABS:
                module = f"{__package__}.{name}"
                if importlib.util.find_spec(module) is None:
                    continue
                with gr.Tab(title):
                    getattr(importlib.import_module(module), f"{name}_tab")(context)
    for function in blocks.fns.values():  # what buttons do is no interface for programs
        function.api_visibility = "private"
    blocks.queue(max_size=_EVENTS, default_concurrency_limit=None, api_open=False)
    return blocks


def style() -> dict[str, Any]:
    """Return how the page looks, as `launch` takes it: in the fonts of the system, light or dark as the system is."""
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.blue, neutral_hue=gr.themes.colors.gray, font=_FONT, font_mono=_MONO
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        color_accent="*primary_700",
        link_text_color="*primary_700",
        link_text_color_hover="*primary_800",
        link_text_color_dark="*primary_300",
        link_text_color_hover_dark="*primary_200",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
    sheet, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "names.js"))
    return {"theme": theme, "css": sheet, "head": f"<script>{script}</script>"}


@contextmanager
def opened(context: Context, host: str, port: int) -> Iterator[str]:
    """Serve the page while the block lasts, and yield its address; raise `GradsculptError` if it cannot be served."""
    blocks = page(context)
    gate = Middleware(Gate, folder=context.folder / UPLOADS, upload_bytes=context.limits.upload_bytes)
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            max_threads=_THREADS,
            max_file_size=context.limits.upload_bytes,
            state_session_capacity=_SESSIONS,
            app_kwargs={"middleware": [gate], "docs_url": None, "redoc_url": None},
            **style(),
        )
    except (OSError, ValueError) as error:
        raise GradsculptError(
            f"the page cannot be served at {host}:{port} ({first_line(error, kind=False)}); pass another --port."
        ) from error
    try:
        yield f"http://{host}:{port}"
    finally:
        blocks.close(verbose=False)
