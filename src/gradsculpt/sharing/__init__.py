"""Runs for others: what goes to the Hugging Face Hub of one, with a card that is written from its scorecard."""

from gradsculpt.sharing.bundle import Bundle, bundle
from gradsculpt.sharing.pushing import push

__all__ = ["Bundle", "bundle", "push"]
