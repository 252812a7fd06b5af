"""What a published data set is: a name, one honest line, a file, and how to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from seatrial.data.records import Record
from seatrial.data.sources.fetch import File, fetch, known_files


@final
@dataclass(frozen=True)
class Dataset:
    """A published set of items that ``load`` fetches, checks and parses."""

    name: str
    summary: str
    """One line: what it asks, and what to know before using it."""
    parse: Callable[[Path, str], tuple[Record, ...]]
    """From the file and the name, which begins the ids, to records."""
    is_inverted: bool = False
    """Whether its published "matching" answers are those *without* the behaviour."""

    @property
    def file(self) -> File:
        """Where it is published, with checksum, licence and attribution."""
        return known_files()[self.name]

    @property
    def licence(self) -> str:
        """The licence of the items."""
        return self.file.licence

    @property
    def attribution(self) -> str:
        """Whom to credit, and what else is asked for."""
        return self.file.attribution

    @property
    def n_items(self) -> int:
        """How many records ``load`` gives."""
        return self.file.n_items

    @property
    def line(self) -> str:
        """What a list of data sets says about it."""
        return f"{self.summary} ({self.n_items:,} items, {self.licence})"

    def load(
        self, *, mirror: Path | None = None, cache: Path | None = None
    ) -> tuple[Record, ...]:
        """Its items in published order, fetched where they are not yet here.

        Args:
            mirror: Root of a mirror; ``$SEATRIAL_MIRROR`` by default.
            cache: Root of the cache, if not the default one.

        Raises:
            BadOption, BadFile, Unreachable, StoreFault: as ``fetch`` does.
            BadData: naming the line that cannot be parsed.
        """
        records = self.parse(fetch(self.file, mirror=mirror, cache=cache), self.name)
        assert len(records) == self.n_items, f"{self.name}: {len(records)} items"
        return records
