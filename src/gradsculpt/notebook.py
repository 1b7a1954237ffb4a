"""What objects look like in a notebook, beyond their `repr`: tables in HTML, every text escaped."""

from collections.abc import Sequence

_TABLE = """
<table>
  <caption style="text-align: left"><strong>{{ title }}</strong>{% if note %}<br/>{{ note }}{% endif %}</caption>
  {%- if columns %}
  <thead><tr>{% for each in columns %}<th style="text-align: left">{{ each }}</th>{% endfor %}</tr></thead>
  {%- endif %}
  <tbody>
  {%- for row in rows %}
    <tr>{% for each in row %}<td style="text-align: left">{{ each }}</td>{% endfor %}</tr>
  {%- endfor %}
  </tbody>
</table>
"""


def table(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str] = (), note: str = "") -> str:
    """Return a table as HTML, with a title, a note under it, and headings if there are any.

    Example:
        >>> table("a & b", [("width", "<3>")]).splitlines()[-3].strip()
        '<tr><td style="text-align: left">width</td><td style="text-align: left">&lt;3&gt;</td></tr>'
    """
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(_TABLE)
    return template.render(title=title, rows=rows, columns=columns, note=note)
