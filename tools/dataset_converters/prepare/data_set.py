"""What is known of a data set, and how it is checked and built."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.dataset_converters.prepare.archives import Archives
from tools.dataset_converters.prepare.findings import Findings


@dataclass(frozen=True)
class DataSet:
    """A data set in the layout that the configs of this project expect.

    Args:
        title (str): Its name.
        root (str): Where the configs look, relative to the project.
        source (str): Where it comes from officially.
        facts (dict): Published numbers; what they mean the check knows.
        check (Callable): ``check(look: Findings, facts: dict)``, writes nothing.
        build (Callable, optional): ``build(part: Path, archives: Archives, facts)``
            fills an empty folder.
        downloads (dict): File name -> (address, md5) where it may be fetched.
        archives (str): The archives that ``build`` takes, in words.
    """

    title: str
    root: str
    source: str
    facts: dict
    check: Callable[[Findings, dict], None]
    build: Callable[[Path, Archives, dict], None] | None = None
    downloads: dict | None = None
    archives: str = ''
