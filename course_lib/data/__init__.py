"""The data room: a pinned catalog, a verified cache, and one loader for each data set."""

from course_lib.data.boolq import load_boolq, passage_overlap
from course_lib.data.conll2003 import load_conll2003
from course_lib.data.glove import load_glove_6b_50d
from course_lib.data.human_ratings import (
    THREE_CLASSES,
    VADER_THRESHOLD,
    load_human_ratings,
    load_sentiment_lexicon,
    ternary_label,
)
from course_lib.data.movie_reviews import load_imdb, load_imdb_stanford, load_rotten_tomatoes
from course_lib.data.multi_lexsum import load_multi_lexsum
from course_lib.data.nltk_data import load_stop_words
from course_lib.data.reading import (
    load_narrative_qa,
    load_quac,
    load_squad,
    locate_answer,
)
from course_lib.data.records import (
    LabelledText,
    RatedText,
    ReadingQuestion,
    SummarizedText,
    TaggedSentence,
    YesNoQuestion,
)
from course_lib.data.splits import hold_out, hold_out_groups
from course_lib.data.tatoeba import TranslatedSentence, load_tatoeba_en_es, split_by_source
from course_lib.data.wikitext2 import load_wikitext2
from course_lib.data.word_similarity import load_analogies, load_word_pairs
from course_lib.data.xsum import load_xsum_1k

__all__ = [
    "THREE_CLASSES",
    "VADER_THRESHOLD",
    "LabelledText",
    "RatedText",
    "ReadingQuestion",
    "SummarizedText",
    "TaggedSentence",
    "TranslatedSentence",
    "YesNoQuestion",
    "hold_out",
    "hold_out_groups",
    "load_analogies",
    "load_boolq",
    "load_conll2003",
    "load_glove_6b_50d",
    "load_human_ratings",
    "load_imdb",
    "load_imdb_stanford",
    "load_multi_lexsum",
    "load_narrative_qa",
    "load_quac",
    "load_rotten_tomatoes",
    "load_sentiment_lexicon",
    "load_squad",
    "load_stop_words",
    "load_tatoeba_en_es",
    "load_wikitext2",
    "load_word_pairs",
    "load_xsum_1k",
    "locate_answer",
    "passage_overlap",
    "split_by_source",
    "ternary_label",
]
