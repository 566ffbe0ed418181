"""The Gene Ontology from an OBO file (format 1.2/1.4): terms, ancestors, depth.

Ancestors run over ``is_a`` and ``part_of``, the two relations over which an annotation to a term
implies one to its ancestor (the "true path rule"). Other relations (``regulates``, ``has_part`` …)
do not carry annotations and are left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from plmsae.core.errors import FormatError
from plmsae.proteins.stream import Source, byte_chunks, source_name, text_lines

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term.

    Attributes
    ----------
    id, name : str
        ``GO:0005694`` and ``chromosome``.
    namespace : str
        ``biological_process``, ``molecular_function``, ``cellular_component``, or what the file
        says.
    is_a, part_of : tuple of str
        Ids of the direct parents, in the order of the file.
    alt_ids : tuple of str
        Older ids of the same term.
    obsolete : bool
        Whether the term is kept only so that its id is known.
    replaced_by : str
        For an obsolete term, the id to use instead; else "".
    subsets : tuple of str
        Subsets (slims) that the file marks it as a member of.
    """

    id: str
    name: str = ""
    namespace: str = ""
    is_a: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    alt_ids: tuple[str, ...] = ()
    obsolete: bool = False
    replaced_by: str = ""
    subsets: tuple[str, ...] = ()

    @property
    def parents(self) -> tuple[str, ...]:
        """Direct parents over both relations, each once."""
        return tuple(dict.fromkeys((*self.is_a, *self.part_of)))


class Ontology:
    """Terms by id, with their ancestors.

    Parameters
    ----------
    terms : iterable of Term
        Parents that are not among them are left out with a warning (slims are cut that way).
    version : str
        The ``data-version`` of the file.

    Raises
    ------
    InputError
        If two terms share an id, or the relations form a cycle (its terms are named).
    """

    def __init__(
        self, terms: Iterable[Term], *, where: str = "ontology", version: str = ""
    ) -> None:
        self.version = version
        self._terms: dict[str, Term] = {}
        for term in terms:
            if term.id in self._terms:
                raise FormatError("the term occurs twice", where=where, record=term.id)
            self._terms[term.id] = term
        self._alternative = {alt: term.id for term in self._terms.values() for alt in term.alt_ids}
        self._parents = self._known_parents(where)
        self._order = _parents_first(self._parents, where)

    def __len__(self) -> int:
        return len(self._terms)

    def __iter__(self) -> Iterator[Term]:
        return iter(self._terms.values())

    def __contains__(self, term_id: object) -> bool:
        return isinstance(term_id, str) and self.resolve(term_id) is not None

    def __getitem__(self, term_id: str) -> Term:
        resolved = self.resolve(term_id)
        if resolved is None:
            raise KeyError(term_id)
        return self._terms[resolved]

    @cached_property
    def ids(self) -> frozenset[str]:
        """Every id that the file knows: of today's terms, of obsolete ones, and older names."""
        return frozenset(self._terms) | frozenset(self._alternative)

    def resolve(self, term_id: str) -> str | None:
        """Return today's id of `term_id`, or None.

        An alternative id gives its term, an obsolete one its replacement; None is for an id that is
        unknown, or obsolete without a replacement.
        """
        term = self._terms.get(self._alternative.get(term_id, term_id))
        if term is not None and term.obsolete:
            term = self._terms.get(term.replaced_by)
        return None if term is None or term.obsolete else term.id

    def ancestors(self, term_id: str) -> frozenset[str]:
        """Return the ids of all ancestors of a term over is_a and part_of, without itself.

        Raises
        ------
        KeyError
            If the term is unknown.
        """
        return self._ancestors[self[term_id].id]

    def closure(self, term_ids: Iterable[str]) -> set[str]:
        """Return today's ids of `term_ids` and all their ancestors; unknown ids are left out."""
        found: set[str] = set()
        for term_id in term_ids:
            resolved = self.resolve(term_id)
            if resolved is not None:
                found.add(resolved)
                found |= self._ancestors[resolved]
        return found

    def depth(self, term_id: str) -> int:
        """Return the longest way from a term up to a root, in steps of is_a or part_of; root 0."""
        return self._depths[self[term_id].id]

    @cached_property
    def _ancestors(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for term_id in self._order:
            parents = self._parents[term_id]
            found[term_id] = frozenset(parents).union(*(found[parent] for parent in parents))
        return found

    @cached_property
    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for term_id in self._order:
            depths[term_id] = max((depths[p] + 1 for p in self._parents[term_id]), default=0)
        return depths

    def _known_parents(self, where: str) -> dict[str, tuple[str, ...]]:
        parents: dict[str, tuple[str, ...]] = {}
        unknown: set[str] = set()
        for term in self._terms.values():
            today = [self._alternative.get(parent, parent) for parent in term.parents]
            unknown.update(parent for parent in today if parent not in self._terms)
            parents[term.id] = tuple(parent for parent in today if parent in self._terms)
        if unknown:
            example = min(unknown)
            _log.warning("%s: %d parents are not in it, such as %s", where, len(unknown), example)
        return parents


def read_obo(path: Source) -> Ontology:
    """Read an ontology from an OBO file (plain, gzip or zstd).

    Parameters
    ----------
    path : str or Path
        go.obo, go-basic.obo, a slim, or any other OBO file.

    Raises
    ------
    InputError
        If the file is damaged, is not OBO, has no terms, a term without an id, or a cycle.
    """
    where = source_name(path)
    version = ""
    terms: list[Term] = []
    stanza, opened = "", 0
    tags: dict[str, list[str]] = {}

    def close() -> None:
        if stanza != "Term":
            return
        if not tags.get("id"):
            raise FormatError("a term without an id", where=where, line=opened)
        terms.append(_term(tags))

    for line, text in _logical_lines(text_lines(where, byte_chunks(path))):
        if not text or text.startswith("!"):
            continue
        if text.startswith("["):
            close()
            heading = _HEADING.fullmatch(text)
            if heading is None:
                raise FormatError(
                    "not a heading such as [Term]", where=where, line=line, value=text
                )
            stanza, opened, tags = heading[1].strip().capitalize(), line, {}
            continue
        tag, colon, value = text.partition(":")
        if not colon:
            raise FormatError(
                "not a 'tag: value' line of an OBO file", where=where, line=line, value=text
            )
        if not stanza and tag == "data-version":
            version = value.strip()
        tags.setdefault(tag, []).append(value.strip())
    close()
    if not terms:
        raise FormatError("no [Term] in the file: is it OBO?", where=where)
    return Ontology(terms, where=where, version=version)


def _logical_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the number of its first line and the text of each line, continued ones joined.

    A line that ends in an odd number of backslashes goes on in the next one (OBO 1.2, section
    "Escape characters").
    """
    begun, first = "", 0
    for number, text in enumerate(lines, 1):
        first = first or number
        text = text.rstrip()
        is_comment = not begun and text.lstrip().startswith("!")
        if (len(text) - len(text.rstrip("\\"))) % 2 and not is_comment:
            begun += text[:-1]
            continue
        yield first, (begun + text).strip()
        begun, first = "", 0
    if begun:
        yield first, begun.strip()


_ESCAPE = re.compile(r"\\(.)")
_HEADING = re.compile(r"\[([^\]]+)\]\s*(?:!.*)?")
_COMMENT = re.compile(r"\s+!.*|\s*\{.*\}\s*(?:!.*)?$")


def _term(tags: Mapping[str, list[str]]) -> Term:
    def values(tag: str) -> list[str]:
        return [_COMMENT.sub("", value) for value in tags.get(tag, [])]

    def first(tag: str) -> str:
        return next(iter(tags.get(tag, [])), "")

    part_of = [
        parent
        for relation, _, parent in (value.partition(" ") for value in values("relationship"))
        if relation in ("part_of", "BFO:0000050")
    ]
    return Term(
        id=values("id")[0],
        name=_ESCAPE.sub(r"\1", first("name")),
        namespace=first("namespace"),
        is_a=tuple(values("is_a")),
        part_of=tuple(parent.strip() for parent in part_of),
        alt_ids=tuple(values("alt_id")),
        obsolete=first("is_obsolete").startswith("true"),
        replaced_by=next(iter(values("replaced_by")), ""),
        subsets=tuple(values("subset")),
    )


def _parents_first(parents: Mapping[str, tuple[str, ...]], where: str) -> list[str]:
    """Return all ids, every one after its parents; raise if a cycle forbids it."""
    children: dict[str, list[str]] = {term_id: [] for term_id in parents}
    missing = {term_id: len(above) for term_id, above in parents.items()}
    for term_id, above in parents.items():
        for parent in above:
            children[parent].append(term_id)
    ready = [term_id for term_id, count in missing.items() if count == 0]
    order: list[str] = []
    while ready:
        term_id = ready.pop()
        order.append(term_id)
        for child in children[term_id]:
            missing[child] -= 1
            if missing[child] == 0:
                ready.append(child)
    if len(order) < len(parents):
        cycle = _a_cycle(parents, set(parents).difference(order))
        raise FormatError("the terms form a cycle", where=where, value=" -> ".join(cycle))
    return order


def _a_cycle(parents: Mapping[str, tuple[str, ...]], stuck: set[str]) -> list[str]:
    """Walk up among the `stuck` terms (each has a stuck parent) until one comes again."""
    path = [min(stuck)]
    while True:
        above = next(parent for parent in parents[path[-1]] if parent in stuck)
        if above in path:
            return [*path[path.index(above) :], above]
        path.append(above)
