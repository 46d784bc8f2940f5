"""Names that come from outside."""

import uuid

from starlette.convertors import Convertor


class ItemName(Convertor[str]):
    """An item in an address: 32 hexadecimal digits, so that nothing else gets further."""

    regex = "[0-9a-f]{32}"

    def convert(self, value: str) -> str:
        """From the address."""
        return value

    def to_string(self, value: str) -> str:
        """Into the address."""
        return value


def new_id() -> str:
    """An event's, if the server makes it."""
    return str(uuid.uuid4())
