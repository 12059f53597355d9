"""What hangs from what: ancestors by one relation alone, and loops by their whole way."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.equipment.topology import Ancestor, Link, Relation, Topology

POWER, NETWORK = Relation.POWER, Relation.NETWORK


def link(child: str, parent: str, relation: Relation = POWER, site: str = "HQ") -> Link:
    return Link(site, child, parent, relation)


def test_ancestors_are_reached_by_links_of_one_relation_all_the_way() -> None:
    topology = Topology(
        [link("P-1", "B-1"), link("B-1", "M-1"), link("B-1", "G-1", NETWORK), link("P-1", "G-2", NETWORK)]
    )
    assert topology.ancestors("HQ", "P-1") == (Ancestor("B-1", POWER), Ancestor("M-1", POWER), Ancestor("G-2", NETWORK))
    assert topology.ancestors("HQ", "M-1") == ()


def test_what_hangs_from_an_equipment_is_found_over_every_link() -> None:
    topology = Topology([link("P-1", "B-1"), link("B-1", "M-1"), link("S-1", "P-1", NETWORK), link("P-2", "M-1")])
    assert topology.below("HQ", "M-1") == {"B-1", "P-1", "S-1", "P-2"}
    assert topology.below("HQ", "S-1") == topology.below("B", "M-1") == set()


def test_two_ways_to_one_parent_are_one_ancestor() -> None:
    topology = Topology([link("P-1", "A"), link("P-1", "B"), link("A", "M"), link("B", "M")])
    assert topology.ancestors("HQ", "P-1") == (Ancestor("A", POWER), Ancestor("B", POWER), Ancestor("M", POWER))


def test_a_code_on_another_site_is_another_equipment() -> None:
    topology = Topology([link("P-1", "M-1"), link("M-1", "X", site="B")])
    assert topology.ancestors("HQ", "P-1") == (Ancestor("M-1", POWER),)
    assert topology.loop_with(link("M-1", "P-1", site="B")) == []


def test_a_loop_is_named_from_the_child_back_to_it_also_over_both_relations() -> None:
    topology = Topology([link("P-1", "B-1"), link("B-1", "G-1", NETWORK)])
    assert topology.loop_with(link("G-1", "P-1")) == ["G-1", "P-1", "B-1", "G-1"]
    assert topology.loop_with(link("P-1", "P-1")) == ["P-1", "P-1"]
    assert topology.loop_with(link("P-1", "G-1")) == []
    assert topology.children("HQ", "B-1") == [link("P-1", "B-1")]
    assert topology.parents("HQ", "B-1") == [link("B-1", "G-1", NETWORK)]


CODES = st.sampled_from("ABCDEFG")
WANTED = st.lists(st.tuples(CODES, CODES, st.sampled_from(Relation)), max_size=25)


@given(WANTED)
def test_links_of_which_each_closes_no_loop_let_nothing_hang_from_itself(
    wanted: list[tuple[str, str, Relation]],
) -> None:
    """And what is refused would have done so: its way is one of links that stand."""
    topology = Topology()
    for child, parent, relation in wanted:
        way = topology.loop_with(link(child, parent, relation))
        if not way:
            topology = Topology([*topology.links, link(child, parent, relation)])
            continue
        assert (way[0], way[1], way[-1]) == (child, parent, child)
        pairs = {(found.child, found.parent) for found in topology.links}
        assert all(pair in pairs for pair in itertools.pairwise(way[1:]))
    for code in "ABCDEFG":
        assert code not in {ancestor.code for ancestor in topology.ancestors("HQ", code)}
