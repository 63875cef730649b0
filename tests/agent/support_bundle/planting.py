"""Strategies for addresses and tokens to plant, recognizable by unique parts."""

from dataclasses import dataclass

from hypothesis import strategies as st

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORDS = st.text(_LETTERS, min_size=6, max_size=12)
TOKENS = _WORDS.map(lambda word: f"tk-{word}-kt")


@dataclass(frozen=True, slots=True)
class Planted:
    """An address; its unique `marks` must not appear in the output."""

    whole: str
    marks: tuple[str, str]

    def is_in(self, text: str) -> bool:
        """Return whether `text` contains any part of the address."""
        return any(mark in text for mark in self.marks)


def _address(local: str, domain: str, shape: str) -> Planted:
    marks = (f"qz{local}", f"zq{domain}")
    return Planted(shape.format(*marks), marks)


_SHAPES = (
    "{}@{}.example.com",
    "{}+till@sub.{}.example.com",
    "odd.{}@{}.example.com",
    '"odd {} one"@{}.example.com',
    "{}@[{}]",
    "éà{}@{}.exämple.com",
)
ADDRESSES = st.builds(_address, _WORDS, _WORDS, st.sampled_from(_SHAPES))
