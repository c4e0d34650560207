"""The words of the built-in grammar (`probing.data.grammar.grammar`), written for it, and their inflection.

Nouns have classes, since verbs choose their subjects and objects by class (one eats food and reads documents), so that a replaced
word can be noticed. A noun is written `singular` or `singular/plural`; a verb `base` or `base/past/participle`; regular forms are
spelled by rule. Within a class earlier words are more frequent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NOUNS = {
    "woman": "woman/women girl mother sister queen aunt daughter actress waitress grandmother widow princess nun bride duchess "
    "niece hostess heroine witch",
    "man": "man/men boy father brother king uncle son actor waiter grandfather monk prince duke nephew gentleman/gentlemen wizard "
    "groom knight fisherman/fishermen policeman/policemen",
    "worker": "doctor teacher student farmer nurse lawyer soldier driver artist baker writer singer painter captain judge sailor "
    "hunter gardener neighbour visitor guest clerk tailor barber butcher miner poet dancer scholar thief/thieves guard pilot "
    "engineer carpenter plumber journalist merchant priest musician tourist photographer librarian mechanic shepherd cousin "
    "child/children stranger friend manager director dentist surgeon professor pupil banker builder cleaner coach translator "
    "historian chemist detective witness prisoner pirate juggler clown beggar traveller",
    "animal": "dog cat horse bird fox wolf/wolves rabbit mouse/mice bear cow goat owl duck goose/geese pig monkey lion tiger "
    "elephant donkey camel squirrel turtle snake frog hen crow eagle hawk otter badger hedgehog beaver parrot pony puppy kitten "
    "lizard",
    "food": "apple cake sandwich pear cookie egg potato/potatoes tomato/tomatoes carrot onion sausage pancake peach cherry plum "
    "melon biscuit pie muffin noodle pumpkin mushroom olive walnut grape lemon omelette dumpling waffle pastry radish cucumber",
    "vehicle": "car truck bus boat bicycle wagon tractor van ship taxi motorcycle canoe scooter sledge ferry carriage lorry raft",
    "clothing": "coat hat dress shirt scarf/scarves jacket glove shoe boot sweater skirt belt cap sock apron robe uniform blouse "
    "necktie cloak sandal cardigan vest",
    "document": "letter book report story poem newspaper article novel diary message map essay contract magazine recipe postcard "
    "manual notebook script leaflet petition pamphlet certificate memoir ballad riddle",
    "tool": "box lamp knife/knives hammer key bottle basket bag rope ladder mirror clock bucket candle brush spoon needle pencil "
    "broom drum violin guitar camera telescope umbrella blanket kettle saw shovel trumpet lantern pillow bell coin ring stone "
    "bowl vase cup plate chain whistle trunk barrel suitcase wallet statue carpet curtain cushion teapot compass magnet",
    "building": "house school church hospital shop factory castle library museum hotel theatre bakery barn station office tower "
    "palace temple warehouse cottage prison cinema restaurant workshop mill chapel stable cabin bank pharmacy",
    "place": "garden village river forest mountain street park field market island bridge valley beach lake harbour desert road "
    "square hill meadow canyon swamp orchard canal cliff lagoon pasture courtyard alley",
    "abstract": "idea plan problem question answer rumour decision mistake theory promise secret argument proposal lesson warning "
    "reason rule excuse dream memory suggestion explanation discovery opinion prediction conclusion complaint objection prophecy "
    "puzzle strategy compromise hypothesis/hypotheses",
    "plant": "flower tree rose bush tulip vine oak fern daisy cactus/cacti willow lily orchid sunflower hedge pine birch violet "
    "poppy",
}
GROUPS = {
    "person": ("woman", "man", "worker", "worker"),
    "being": ("woman", "man", "worker", "animal"),
    "object": ("tool", "tool", "clothing", "document"),
    "location": ("building", "place"),
    "thing": ("vehicle", "tool", "building", "plant"),
}

INTRANSITIVE = {
    "person": "laugh smile work wait sing/sang/sung dance sleep/slept/slept shout whisper cry travel study pray rest "
    "swim/swam/swum apologize complain speak/spoke/spoken yawn sneeze frown kneel/knelt/knelt hesitate retire relax snore bow "
    "giggle",
    "animal": "run/ran/run bark sleep/slept/slept growl hide/hid/hidden jump escape howl drink/drank/drunk wander swim/swam/swum "
    "limp crawl tremble vanish sniff",
    "thing": "fall/fell/fallen break/broke/broken shake/shook/shaken burn disappear move shine/shone/shone creak collapse rattle "
    "rust sink/sank/sunk decay wobble glow crack",
    "abstract": "fail spread/spread/spread matter change work vanish persist emerge prevail",
}
TRANSITIVE = {
    "person": {
        "food": "eat/ate/eaten cook buy/bought/bought taste peel bake slice chew swallow fry devour",
        "document": "read/read/read write/wrote/written finish copy publish sign translate edit print memorize quote burn revise",
        "vehicle": "drive/drove/driven repair wash park/parked/parked sell/sold/sold borrow steer rent paint inspect",
        "clothing": "wear/wore/worn sew mend iron fold buy/bought/bought wash knit button patch",
        "tool": "carry lift drop/dropped/dropped hold/held/held clean find/found/found lose/lost/lost polish collect "
        "steal/stole/stolen hide/hid/hidden break/broke/broken pack borrow throw/threw/thrown",
        "person": "meet/met/met help visit follow call greet thank admire teach/taught/taught blame invite trust "
        "hug/hugged/hugged praise ignore scold forgive/forgave/forgiven insult interview betray rescue",
        "animal": "feed/fed/fed catch/caught/caught train tame chase ride/rode/ridden love adopt shelter",
        "building": "build/built/built enter leave/left/left clean visit sell/sold/sold close guard demolish renovate",
        "place": "cross reach leave/left/left explore describe admire draw/drew/drawn survey",
        "abstract": "discuss explain understand/understood/understood remember forget/forgot/forgotten reject accept mention "
        "consider defend ignore repeat doubt dispute clarify",
        "plant": "grow/grew/grown water plant pick cut/cut/cut smell trim/trimmed/trimmed prune",
    },
    "animal": {
        "animal": "chase follow bite/bit/bitten fear attack watch hunt lick",
        "person": "follow bite/bit/bitten watch wake/woke/woken frighten obey",
        "food": "eat/ate/eaten steal/stole/stolen smell swallow devour sniff",
        "clothing": "chew tear/tore/torn fetch ruin",
    },
    "abstract": {"person": "surprise worry please confuse interest annoy help upset/upset/upset amuse embarrass"},
}
SAYING = (
    "say/said/said think/thought/thought know/knew/known believe hope claim notice hear/heard/heard suspect "
    "admit/admitted/admitted insist discover imagine announce argue deny realize"
)
ASKING = "ask wonder know/knew/known remember forget/forgot/forgotten discover"
WANTING = "want try decide hope refuse promise learn plan/planned/planned agree need prefer/preferred/preferred attempt"
GIVING = "give/gave/given send/sent/sent show/showed/shown offer hand bring/brought/brought lend/lent/lent sell/sold/sold"

ADJECTIVES = {
    "person": "old young happy tall tired kind famous angry clever poor rich lonely brave honest nervous polite strange quiet "
    "proud lazy cheerful jealous stubborn gentle curious careless thoughtful elderly handsome grumpy generous timid",
    "animal": "small hungry wild black brown big frightened white tame fierce sleepy thirsty clumsy playful wounded striped",
    "object": "old new large small red beautiful heavy broken cheap expensive green dirty strange blue dusty wooden round empty "
    "golden yellow enormous ugly tiny modern precious grey ancient fragile",
    "food": "fresh sweet ripe large cheap bitter rotten delicious tasty sour frozen salty",
    "location": "old large quiet dark famous empty narrow beautiful distant crowded ancient peaceful muddy haunted remote sunny",
    "abstract": "new strange simple important clever foolish difficult final serious terrible wonderful dangerous brilliant "
    "obvious complicated unusual ridiculous sensible",
}
ADJECTIVE_OF = {kind: kind for kind in ("person", "animal", "food", "abstract")}
ADJECTIVE_OF |= dict.fromkeys(("woman", "man", "worker"), "person") | dict.fromkeys(("building", "place"), "location")
MANNER = (
    "quickly slowly quietly carefully loudly happily secretly badly gladly politely nervously suddenly calmly bravely angrily "
    "eagerly gently patiently cheerfully stubbornly"
)
FREQUENCY = "often always never usually sometimes rarely still already finally probably certainly hardly simply seldom"
OPENING = (
    "suddenly perhaps finally sometimes maybe usually clearly fortunately later again meanwhile eventually apparently luckily "
    "naturally obviously surprisingly"
)
PAST_TIME = ("last week", "last night", "last summer", "last winter", "last month", "last year")
PRESENT_TIME = ("this week", "this morning", "this year", "every day", "every summer", "every night", "every morning")
NAMES = (
    "Anna Peter Maria John Clara Tom Alice Robert Julia Martin Laura Henry Emma Oscar Nina Felix Sarah Victor Helen Simon Rosa "
    "Albert Lucy Frank Edith Hugo Irene Walter Sophie Leo Agnes Arthur Vera Edgar Martha Bruno Ida Otto Ellen Max"
)
PLACE_NAMES = "London Paris Rome Vienna Lisbon Dublin Oslo Cairo Boston Madrid Prague Athens"
DETERMINERS = {"NN": "the the the a a this that every", "NNS": "the the the some many these those several few"}
POSSESSIVES = "his her their my our your its"


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun with its class and both forms."""

    kind: str
    singular: str
    plural: str


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its forms by Penn tag."""

    VB: str
    VBZ: str
    VBD: str
    VBN: str
    VBG: str

    @property
    def VBP(self) -> str:
        return self.VB


def sibilant(word: str) -> str:
    """The word with -s or -es, by its ending: boxes, ladies, keys, roses."""
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def noun(entry: str, kind: str) -> Noun:
    singular, _, plural = entry.partition("/")
    return Noun(kind, singular, plural or sibilant(singular))


DOUBLED = {"drop", "hug", "trim", "admit", "plan", "prefer", "run", "swim", "cut", "forget", "upset", "knit", "travel"}


def verb(entry: str) -> Verb:
    """A verb with its forms; past and participle by rule unless written."""
    base, _, rest = entry.partition("/")
    doubled = base + base[-1] if base in DOUBLED else base
    if rest:
        past, participle = rest.split("/")
    else:
        stem = base[:-1] + "i" if re.search(r"[^aeiou]y$", base) else doubled
        past = participle = stem + ("d" if stem.endswith("e") else "ed")
    return Verb(base, sibilant(base), past, participle, re.sub(r"(?<=[^eoy])e$", "", doubled) + "ing")


def article(word: str) -> str:
    """a or an before the word."""
    return "an" if word[0].lower() in "aeiou" and not word.startswith(("uni", "use", "eu")) else "a"


NOUN_TABLE = {kind: tuple(noun(entry, kind) for entry in words.split()) for kind, words in NOUNS.items()}
