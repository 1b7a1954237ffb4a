"""Which of a network's classes the classes of data stand for: never another one in silence."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gradsculpt.cli.class_pairs import add_class_options, asked_classes
from gradsculpt.cli.classes import ClassMap, Vocabulary, class_maps, unlabelled
from gradsculpt.cli.parser import command_parser
from gradsculpt.errors import ArgumentError
from gradsculpt.models import imagenet_classes
from gradsculpt.models.imagenet import in_words, wordnet

IMAGENET = imagenet_classes()
UNCLEAR = [("crane",), ("maillot",), ("maillot", "tank suit")]


def members(
    *names: str, typed: Mapping[str, tuple[str, ...]] | None = None, classes: tuple[str, ...] = IMAGENET
) -> list[tuple[int, ...]]:
    return list(class_maps({"net": classes}, names, typed or {}, {})["net"].members)


def refused(said: str, *names: str, classes: tuple[str, ...] = IMAGENET, **typed: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        class_maps({"net": classes}, names, {name: (value,) for name, value in typed.items()}, {})


def test_every_class_of_imagenet_is_known_by_its_name_its_number_and_the_list_of_its_names() -> None:
    assert len(wordnet()) == 1000
    every = [(i,) for i in range(1000)]
    assert members(*IMAGENET) == every
    assert members(*wordnet()) == every
    shouted = {name.upper().replace(" ", "_"): (i,) for i, name in enumerate(IMAGENET) if name.lower() != "cardigan"}
    assert members(*shouted) == list(shouted.values())
    # The names of a class as ILSVRC lists them; one of them may be another's as well.
    listed = {", ".join(names): (i,) for i, names in enumerate(wordnet().values()) if names not in UNCLEAR}
    assert members(*listed) == list(listed.values())


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Tench", 0),
        ("english_springer", 217),
        ("English-Springer", 217),
        ("tench, Tinca tinca", 0),
        ("Tinca tinca", 0),
        ("tabby cat", 281),
        ("n02123045", 281),
        ("N02123045", 281),
        ("dark glasses", 837),
        ("cafe\u0301", None),
    ],
)
def test_a_folder_is_known_by_any_name_of_the_class(name: str, place: int | None) -> None:
    if place is None:
        assert members(name, "x", classes=("x", "caf\u00e9")) == [(1,), (0,)]
    else:
        assert members(name) == [(place,)]


def test_a_run_on_wordnet_numbers_knows_the_names_too() -> None:
    assert members("church", "gas pump", classes=("n03028079", "n03425413")) == [(0,), (1,)]


def test_what_is_not_clear_is_asked_or_told() -> None:
    refused(r"CARDIGAN could be Cardigan \(264\) and cardigan \(474\)", "CARDIGAN")
    refused(r"sunglass.* could be .*\(836\) and .*\(837\)", "sunglass, sunglasses")
    mapped = class_maps({"net": IMAGENET}, ["crane"], {}, {})["net"]
    assert mapped.members == ((517,),)
    assert mapped.notes == ("crane is taken for crane (517) of net; crane bird (134) is called so too",)
    assert members("crane", typed={"crane": ("crane bird",)}) == [(134,)]


def test_an_unknown_folder_is_refused_with_the_nearest_and_the_remedy() -> None:
    refused(
        r"cat is none of the 1000 classes of net, nor are 1 more of the 2 .* nearest are tabby, tiger cat", "cat", "dog"
    )
    refused(r"Write --classes cat=tabby .*--class-map FILE .*--skip-unknown", "cat")
    refused(r"its classes are .*--classes xyzzy=CLASS", "xyzzy")


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (("tabby",), (281,)),
        (("tabby,tiger_cat",), (281, 282)),
        (("tabby", "Tiger Cat", "n02124075"), (281, 282, 285)),
        (("281-285",), (281, 282, 283, 284, 285)),
        (("281, 285", "tabby"), (281, 285)),
        (("tench, Tinca tinca",), (0,)),
    ],
)
def test_a_folder_stands_for_what_is_typed(values: tuple[str, ...], places: tuple[int, ...]) -> None:
    assert members("cat", typed={"cat": values}) == [places]
    assert members("Cat", typed={"cat": values}) == [places]


def test_a_class_that_does_not_exist_is_refused() -> None:
    refused("taby, which cat is to stand for, is no class of net .*Did you mean tabby", "cat", cat="taby")
    refused("tabby,tgier cat", "cat", cat="tabby,tgier cat")
    refused("999-1000, which cat .*0 to 999", "cat", cat="999-1000")
    refused("--classes cta=tabby names no class of the data, which are cat. Did you mean cat", "cat", cta="tabby")


def test_what_is_left_out_is_left_out_for_every_network() -> None:
    networks = {"net": IMAGENET, "run": ("cat", "church")}
    maps = class_maps(networks, ["church", "cat", "tench"], {"cat": ("tabby", "cat")}, {}, skip=True)
    assert maps["net"].members == ((497,), (281,), ())
    assert maps["run"].members == ((1,), (0,), ())
    assert maps["net"].told() == {"cat": ["tabby"]}
    assert maps["run"].told() == {}
    assert members("church", "cat", typed={"cat": ()}) == [(497,), ()]
    with pytest.raises(ArgumentError, match=r"none of the 2 classes of the data .* nothing is left"):
        class_maps(networks, ["a", "b"], {}, {}, skip=True)


def test_outputs_without_names_are_taken_in_order_and_it_is_said() -> None:
    mapped = class_maps({"net": ("0", "1")}, ["cat", "dog"], {}, {})["net"]
    assert mapped.members == ((0,), (1,))
    assert mapped.notes == ("net does not name its outputs: they are taken for cat, dog, in this order",)
    assert members("cat", "dog", typed={"cat": ("1",), "dog": ("0",)}, classes=("0", "1", "2")) == [(1,), (0,)]
    refused("does not name its outputs, which are numbered 0 to 2; .*--classes cat=0", "cat", classes=("0", "1", "2"))


def test_a_number_is_of_one_network_only() -> None:
    named, nameless = {"a": IMAGENET, "b": ("x", "church")}, {"a": IMAGENET, "b": ("0", "1", "2")}
    with pytest.raises(ArgumentError, match="1, which church is to stand for, is another class in each of a and b"):
        class_maps(named, ["church"], {"church": ("1",)}, {})
    maps = class_maps(nameless, ["church"], {"church": ("2",)}, {})
    assert (maps["a"].members, maps["b"].members) == (((497,),), ((2,),))


def test_the_classes_of_a_network_are_themselves() -> None:
    odd = ("a b", "a_b", "Case", "case", "crane")
    assert class_maps({"net": odd}, odd, {}, {})["net"] == ClassMap(odd, tuple((i,) for i in range(5)), odd)


def test_photos_without_classes_may_be_anything() -> None:
    assert unlabelled(("a", "b")).members == ((0, 1),)
    assert not unlabelled(("a", "b")).single
    assert Vocabulary(("a",)).nameless is False


FILES = {
    "m.csv": "cat,tabby\ncat,tiger cat\ndog,beagle\nbin,\n",
    "headed.csv": "folder,class\ncat,tabby,tiger cat\ndog,beagle\nbin,\n\n",
    "semicolons.csv": "\ufeffcat;tabby;tiger cat\ndog;beagle\nbin;\n",
    "m.tsv": "cat\ttabby\tiger\ncat\ttiger cat\ndog\tbeagle\nbin\t\n".replace("tabby\tiger", "tabby"),
    "m.yaml": "cat: [tabby, tiger cat]\ndog: beagle\nbin:\n",
    "m.yml": "- [cat, tabby]\n- [cat, tiger cat]\n- [dog, beagle]\n- [bin, '']\n",
    "m.json": '{"cat": ["tabby", "tiger cat"], "dog": "beagle", "bin": null}',
}


def asked(*words: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    parser = command_parser("evaluate", "")
    add_class_options(parser)
    typed, file = asked_classes(parser.read(words))
    return dict(typed), dict(file)


@pytest.mark.parametrize("name", FILES)
def test_pairs_come_from_files_of_any_kind(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    typed, file = asked("--class-map", str(tmp_path / name))
    assert file == {"cat": ("tabby", "tiger cat"), "dog": ("beagle",), "bin": ()}
    # A file may be about more data than these, and what is typed comes first.
    mapped = class_maps({"net": IMAGENET}, ["cat", "church"], {"cat": ("Egyptian cat",)}, file)["net"]
    assert mapped.members == ((285,), (497,))
    assert class_maps({"net": IMAGENET}, ["cat"], typed, file)["net"].members == ((281, 282),)


def test_numbers_and_words_of_yaml_are_names(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("no: 0123\n1e3: yes\n")
    assert asked("--class-map", str(tmp_path / "m.yaml"))[1] == {"no": ("0123",), "1e3": ("yes",)}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.txt", "cat,tabby", "of no known kind"),
        ("m.csv", "", "holds no pairs"),
        ("m.csv", "cat\n", "where a pair should stand"),
        ("m.csv", 'cat,"tabby\n', "cannot be read"),
        ("m.json", "{", "cannot be read"),
        ("m.json", '"cat"', "holds no pairs"),
        ("m.json", '{"cat": {"a": 1}}', "no pair of names"),
        ("m.yaml", "cat: [tabby", "cannot be read"),
        ("m.yaml", "- cat\n", "where a pair should stand"),
        ("m.yaml", "", "holds no pairs"),
        ("none.csv", None, "cannot be read .No such file"),
    ],
)
def test_a_file_without_pairs_is_one_line(name: str, text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ArgumentError, match=said):
        asked("--class-map", str(tmp_path / name))


def test_a_file_about_other_data_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match="names none of the classes of the data, which are church; its first is cat"
    ):
        class_maps({"net": IMAGENET}, ["church"], {}, {"cat": ("tabby",)})


def test_typed_pairs_add_up_and_need_both_halves() -> None:
    assert asked("--classes", "cat=tabby", "cat=tiger cat", "bin=")[0] == {"cat": ("tabby", "tiger cat"), "bin": ()}
    for word in ("cat", "=tabby"):
        with pytest.raises(ArgumentError, match="is no pair; write FOLDER=CLASS"):
            asked("--classes", word)


def test_each_wordnet_number_has_words_of_its_own_and_all_else_stays() -> None:
    shown = [in_words(number) for number in wordnet()]
    assert len(set(shown)) == 1000
    assert all(word.startswith(names[0]) for word, names in zip(shown, wordnet().values(), strict=True))
    nette = "n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257"
    named = "tench, English springer, cassette player, chain saw, church, French horn, garbage truck, gas pump, "
    assert [in_words(number) for number in nette.split()] == f"{named}golf ball, parachute".split(", ")
    for name in ("cat", "n0210204", "n99999999", "", "springer n02102040"):
        assert in_words(name) == name
