"""The Hugging Face Hub: names of its repositories, their files fetched and sent; its library is imported when used."""

from gradsculpt.hub.names import HubName, is_hub, parse

__all__ = ["HubName", "is_hub", "parse"]
