"""A wrong definition is refused with the file and the key, never used by half."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from todoku.extraction.compiled import CompiledSite
from todoku.extraction.errors import DefinitionError

Compile = Callable[[str], CompiledSite]

HEAD = 'id = "x"\nname_ja = "x"\nname_en = "x"\n'
KIND = '[[kind]]\nevent = "booked"\nsubject = ["booked"]\n'


@pytest.mark.parametrize(
    ("toml", "key", "problem"),
    [
        ("id = ", "the whole file", "not TOML"),
        ('id = "x"\nname_ja = "x"\n' + KIND, "top level", "name_en"),
        (HEAD, "kind", "no rule"),
        (HEAD + 'colour = "red"\n' + KIND, "top level", "colour"),
        (HEAD + '[[kind]]\nevent = "eaten"\nsubject = ["x"]\n', "kind[0].event", "eaten"),
        (HEAD + '[[kind]]\nsubject = ["x"]\n', "kind[0]", "exactly one"),
        (HEAD + '[[kind]]\nevent = "booked"\nnotice = "digest"\nsubject = ["x"]\n', "kind[0]", "exactly one"),
        (HEAD + '[[kind]]\nevent = "booked"\n', "kind[0]", "every mail"),
        (HEAD + '[[kind]]\nevent = "booked"\nstatus = ["x"]\nno_status = true\n', "kind[0]", "exclude"),
        (HEAD + KIND + '[[field]]\nname = "colour"\nsyntax = "colon"\nlabels = ["x"]\n', "field[0].name", "colour"),
        (
            HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "semicolon"\nlabels = ["x"]\n',
            "field[0].syntax",
            "semicolon",
        ),
        (HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "colon"\n', "field[0] (seat)", "takes labels"),
        (
            HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "colon"\nlabels = [" "]\n',
            "field[0] (seat).labels",
            "empty",
        ),
        (
            HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "text"\nlabels = ["x"]\n',
            "field[0] (seat)",
            "takes a pattern",
        ),
        (HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "text"\npattern = "("\n', "field[0] (seat).pattern", "RE2"),
        (
            HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "text"\npattern = "(?=x)(y)"\n',
            "field[0] (seat).pattern",
            "RE2",
        ),
        (
            HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "text"\npattern = "seat"\n',
            "field[0] (seat).pattern",
            "one group",
        ),
        (
            HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "colon"\nlabels = ["x"]\nshape = "["\n',
            "field[0] (seat).shape",
            "RE2",
        ),
        (HEAD + 'time_zone = "Asia/Edo"\n' + KIND, "time_zone", "Asia/Edo"),
    ],
)
def test_a_wrong_definition_names_its_file_and_its_key(compiled: Compile, toml: str, key: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        compiled(toml)
    assert caught.value.file == "test.toml"
    assert caught.value.key == key
    assert problem in caught.value.problem
    assert "test.toml" in str(caught.value)


def test_a_right_definition_is_compiled(compiled: Compile) -> None:
    site = compiled(HEAD + KIND + '[[field]]\nname = "seat"\nsyntax = "colon"\nlabels = ["席　種"]\n')
    assert site.id == "x"
    assert site.labels == {"席種"}
