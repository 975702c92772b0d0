"""What is wrong with a service's settings, in lines for the person who set them."""

from pydantic import ValidationError


def settings_faults(error: ValidationError, prefix: str) -> str:
    """One line a fault, such as `BACKEND_PORT: Input should be less than or equal to 65535`.

    Args:
        error: What building the service's settings raised.
        prefix: How the names of the service's variables begin.
    """
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        name = "".join(f"{prefix}{field}: ".upper() for field in fault["loc"])
        lines.append(name + fault["msg"].removeprefix("Value error, "))
    return "\n".join(lines)
