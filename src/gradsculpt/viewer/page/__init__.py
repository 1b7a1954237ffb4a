"""How the page looks: the only modules that need Gradio, imported when `gradsculpt view` serves it."""
