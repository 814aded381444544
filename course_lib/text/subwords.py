"""Subwords by byte-pair encoding, for texts whose every word must be written, not only read."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from course_lib.errors import CourseError, UsageError
from course_lib.files import write_atomically
from course_lib.text.vocabulary import PAD, PAD_ID, UNKNOWN, UNKNOWN_ID

START, END = "[START]", "[END]"
START_ID, END_ID = 2, 3
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END)
# Stands for the space before a word, as in SentencePiece.
WORD_START = "▁"


class Subwords:
    """Text to subword ids and back; case, accents and punctuation are kept.

    Ids 0 to 3 are padding, unknown, start and end. Words are cut at spaces and around punctuation (an
    apostrophe stays inside its word), digits stand alone, and merges never cross these borders.

    Args:
        tokenizer: as `train` or `load` make it.

    Source: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
    section 3.2.
    """

    def __init__(self, tokenizer: Tokenizer):
        # Otherwise someone's text "[END]" would become the id that ends a sentence.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int) -> "Subwords":
        """Learns merges from training texts, the most frequent pair first.

        Args:
            texts: of the training split only.
            vocabulary_size: special tokens and single characters included; it stays smaller if the texts
                have no pair left that occurs twice.

        Raises:
            UsageError: no room for the special tokens and all single characters of the texts.
        """
        if vocabulary_size <= len(SPECIAL_TOKENS):
            raise UsageError(
                f"vocabulary_size is {vocabulary_size}; {len(SPECIAL_TOKENS)} of it are special tokens."
            )
        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.NFC(),
                normalizers.Replace("’", "'"),
                normalizers.Replace(Regex(r"\s+"), " "),
                normalizers.Strip(),
            ]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Metaspace(replacement=WORD_START),
                pre_tokenizers.Split(Regex(rf"{WORD_START}?([^\w{WORD_START}']|\d)"), behavior="isolated"),
            ]
        )
        tokenizer.decoder = decoders.Metaspace(replacement=WORD_START)
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=2,
            special_tokens=list(SPECIAL_TOKENS),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        if tokenizer.get_vocab_size() > vocabulary_size:
            raise UsageError(
                f"vocabulary_size is {vocabulary_size}; these texts need {tokenizer.get_vocab_size()} for "
                "special tokens and single characters alone: ask for more than that."
            )
        return cls(tokenizer)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without start and end; none for a text of spaces."""
        return self._tokenizer.encode(_whole(text), add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts, on all cores."""
        encodings = self._tokenizer.encode_batch(list(map(_whole, texts)), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The subword of each id; `▁` marks the start of a word."""
        return [self._tokenizer.id_to_token(int(id_)) for id_ in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens are left out."""
        return self._tokenizer.decode(list(map(int, ids)), skip_special_tokens=True)

    def is_known(self, ids: Iterable[int]) -> bool:
        """Whether any id stands for a character that occurred in the training texts."""
        known = [id_ for id_ in ids if id_ not in (PAD_ID, UNKNOWN_ID)]
        return any(token != WORD_START for token in self.tokens(known))

    def save(self, path: str | Path) -> None:
        """Writes the JSON that `tokenizers.Tokenizer.from_file` reads.

        Raises:
            CourseError: the file cannot be written.
        """
        try:
            write_atomically(Path(path), self._tokenizer.to_str(pretty=False))
        except OSError as error:
            raise CourseError(f"The subwords could not be written to {path} ({error}).") from error

    @classmethod
    def load(cls, path: str | Path) -> "Subwords":
        """Reads what `save` wrote.

        Raises:
            CourseError: the file is missing, damaged, or not of this class.
        """
        try:
            content = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CourseError(f"There are no subwords at {path}: run the notebook that saves them.") from None
        except (OSError, ValueError) as error:
            raise CourseError(f"The subwords {path} cannot be read ({error}): save them again.") from error
        try:
            tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # the library raises no narrower class
            raise CourseError(f"The subwords {path} are damaged ({error}): save them again.") from error
        if [tokenizer.id_to_token(id_) for id_ in range(len(SPECIAL_TOKENS))] != list(SPECIAL_TOKENS):
            raise CourseError(f"{path} holds another tokenizer: its first ids are not {SPECIAL_TOKENS}.")
        return cls(tokenizer)


def _whole(text: str) -> str:
    """The text with "?" for each half of a character (a lone surrogate), which the library refuses."""
    return text.encode("utf-8", "replace").decode()
