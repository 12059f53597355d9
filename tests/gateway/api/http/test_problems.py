"""Every problem that the server names has words on the page, in both languages."""

import re
from pathlib import Path

import pytest

from gateway.api.http.problems import CODES

LOCALES = Path(__file__).parents[1] / "web" / "src" / "shared" / "locales"


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_code_of_the_server_has_words_on_the_page(language: str) -> None:
    text = (LOCALES / f"problems.{language}.ts").read_text(encoding="utf-8")
    worded = set(re.findall(r"^  (\w+):\s+['\"`]\S", text, re.MULTILINE))
    assert set(CODES) - worded == set()
