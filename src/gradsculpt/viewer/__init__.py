"""The page in the browser: what it does is in plain modules; how it looks in `viewer.page`, which needs Gradio."""
