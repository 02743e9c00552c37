"""What every room takes for the folder that somebody names."""

import os


def folder_of(text: str) -> str:
    """A path, with the home that a `~` at its beginning stands for, as in a shell: else it would be a folder of that
    name. Raises ValueError where it stands for none."""
    found = os.path.expanduser(text)
    if found.startswith("~"):
        raise ValueError("~ at the beginning stands for no home of this machine (a folder of that name is ./~)")
    return found
