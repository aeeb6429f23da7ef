"""`rsi rules list --kind prototypes` shows them, `rsi rules check` names what is wrong with one."""

import json

import pytest

from rsi.cli import main


@pytest.fixture
def rsi(tmp_path, capsys):
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(tmp_path), *arguments])
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def write(tmp_path, text: str) -> None:
    folder = tmp_path / "rules" / "prototypes"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")


def test_prototypes_are_listed_with_their_origin_and_do_not_swell_the_list_of_rules(rsi, tmp_path):
    write(tmp_path, "category: auth\nprototypes: [the badge reader blinked red]\n")
    found = json.loads(rsi("rules", "list", "--kind", "prototypes", "--json")[1])["prototypes"]
    (mine,) = [one for one in found if one["origin"] == "user"]
    assert (mine["category"], mine["text"], mine["line"]) == ("auth", "the badge reader blinked red", 2)
    assert "the badge reader blinked red" in rsi("rules", "list", "--kind", "prototypes")[1]
    assert {one["kind"] for one in json.loads(rsi("rules", "list", "--json")[1])["rules"]} == {"classify", "fix"}


def test_check_names_file_line_and_field(rsi, tmp_path):
    write(tmp_path, "category: auth\nprototypes:\n  - red\n")
    code, said = rsi("rules", "check")
    assert code == 1
    assert "mine.yaml:3: prototypes[0]: 3 characters" in said
