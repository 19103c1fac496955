"""What type checkers read of `blocklearn`: its names are loaded on first use, which they cannot
follow, so a stub says where each comes from.

`python tests/public_stub.py` writes blocklearn/__init__.pyi anew."""

from pathlib import Path

import blocklearn

STUB = Path(blocklearn.__file__).with_suffix(".pyi")


def stub() -> str:
    """Of every public name, the module it comes from."""
    homes = sorted((home, name) for name, home in blocklearn._HOME.items())
    lines = [f"from {home} import {name} as {name}\n" for home, name in homes]
    about = "# Written by tests/public_stub.py from the names in __init__.py.\n"
    return f"{about}{''.join(lines)}\n__version__: str\n"


if __name__ == "__main__":
    STUB.write_text(stub())
